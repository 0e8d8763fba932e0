"""The ``predict`` command: print a model's predictions for a few photos."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence

import numpy as np

from catalogue import model_dir, storage
from catalogue.cli import flags
from catalogue.cli.errors import CommandFailed
from catalogue.cli.logs import print_line
from catalogue.cli.text import counted
from catalogue.reasons import StorageError
from trainer.data.examples import Example, find_examples
from trainer.data.photos import Photo, read_photos
from trainer.evaluation import inference

_EIGHTHS = " ▏▎▍▌▋▊▉"


def predict(arguments: argparse.Namespace) -> None:
    """Print the best labels of photos, in the order given.

    Raises:
        CommandFailed: some of the photos cannot be read.
    """
    with model_dir.fetched(arguments.model_dir) as model:
        from catalogue.model_dir import saved_model  # importing TensorFlow takes seconds

        info, probabilities, limits = model.info, saved_model.load(model), flags.limits(arguments)
        examples = [example for uri in arguments.images for example in _examples(uri)]
        photos = list(read_photos(examples, info.image, limits))
        readable = [photo for photo in photos if isinstance(photo, Photo)]
        size = inference.BATCH_SIZE
        batches = (readable[start : start + size] for start in range(0, len(readable), size))
        rows = (row for batch in batches for row in probabilities(np.stack([photo.image for photo in batch])))
        for photo in photos:
            if isinstance(photo, Photo):
                best = _best(next(rows), info.labels, arguments.top_k)
                print_line(_json(photo.example.uri, best) if arguments.json else _table(photo.example.uri, best))
            elif arguments.json:
                reason, message = photo.error.reason.code, photo.error.message
                print_line(json.dumps({"uri": photo.example.uri, "reason": reason, "message": message}))
            else:
                print_line(f"{photo.example.uri}\n  not classified, {photo.error}")
    if len(readable) < len(photos):
        raise CommandFailed(
            f"{len(photos) - len(readable):,} of {counted(len(photos), 'file')} cannot be read as a photo: fix or omit "
            "the unreadable files"
        )


def _examples(uri: str) -> list[Example]:
    """Return one photo, or all photos of a folder. Raises UserError if the folder has none."""
    return find_examples(uri, labeled=False) if _is_folder(storage.without_file_scheme(uri)) else [Example(uri, "")]


def _is_folder(uri: str) -> bool:
    if not storage.is_remote(uri):
        return os.path.isdir(uri)
    try:
        return storage.scheme(uri) not in ("http", "https") and not storage.is_file(uri) and storage.exists(uri)
    except StorageError:  # reported when the photo is read
        return False


def _best(row: np.ndarray, labels: Sequence[str], top: int) -> list[tuple[str, float]]:
    return [(labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top]]


def _json(uri: str, best: Sequence[tuple[str, float]]) -> str:
    label, score = best[0]
    top = [{"label": name, "score": value} for name, value in best]
    return json.dumps({"uri": uri, "label": label, "score": score, "top": top})


def _table(uri: str, best: Sequence[tuple[str, float]]) -> str:
    names = max(len(label) for label, _ in best)
    width = max(8, min(40, shutil.get_terminal_size().columns - names - 14))
    lines = [f"  {label:{names}}  {score:6.4f}  {bar(score, width)}".rstrip() for label, score in best]
    return "\n".join([uri, *lines])


def bar(share: float, width: int) -> str:
    """Return a text bar for a share from 0 to 1; the bar for 1 is `width` characters long."""
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
