"""The ``evaluate`` and ``predict`` commands: a model directory applied to photos."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from trainer import console, dataset, evaluation, files, model_dir
from trainer.console import CommandFailed, Progress, UserError, say
from trainer.preprocessing import ImageSpec, Limits

BATCH_SIZE = 32
TOP = 3


@dataclasses.dataclass(frozen=True)
class Classified:
    """The photos that could be read, with what the model says of them.

    Attributes:
        examples: N of them.
        probabilities: float32 [N, K].
        unreadable: the examples that gave no photo.
    """

    examples: tuple[dataset.Example, ...]
    probabilities: np.ndarray
    unreadable: tuple[dataset.Unreadable, ...]


def classify(
    examples: Iterable[dataset.Example],
    total: int,
    spec: ImageSpec,
    limits: Limits,
    probabilities: Callable[[np.ndarray], np.ndarray],
) -> Classified:
    """Reads and classifies examples.

    Args:
        examples: `total` of them.
        spec: the images the model takes.
        limits: which photos are too large.
        probabilities: uint8 [N, H, W, 3] -> float32 [N, K].
    """
    photos = dataset.read_photos(examples, spec, limits)
    good: list[dataset.Example] = []
    rows: list[np.ndarray] = []
    unreadable: list[dataset.Unreadable] = []
    with Progress("classifying", total, "photos") as progress:
        while batch := list(itertools.islice(photos, BATCH_SIZE)):
            readable = [photo for photo in batch if isinstance(photo, dataset.Photo)]
            unreadable += [photo for photo in batch if isinstance(photo, dataset.Unreadable)]
            if readable:
                rows.append(probabilities(np.stack([photo.image for photo in readable])))
                good += [photo.example for photo in readable]
            progress.advance(len(batch))
    return Classified(tuple(good), np.concatenate(rows) if rows else np.zeros((0, 0), np.float32), tuple(unreadable))


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``evaluate``."""
    parser.add_argument("--model-dir", type=console.path, required=True, metavar="DIR", help="what train wrote")
    parser.add_argument(
        "--data",
        type=console.path,
        required=True,
        metavar="DATA",
        help="labelled photos, as train takes them",
    )
    parser.add_argument(
        "--output",
        type=console.path,
        metavar="DIR",
        help="write evaluation.json, predictions.jsonl and report.html here",
    )
    console.add_limit_arguments(parser)


def evaluate(arguments: argparse.Namespace) -> None:
    """Measures a model on labelled photos, prints the metrics, and writes them where ``--output`` says."""
    output = arguments.output
    if output:
        _check_output(output)
    with model_dir.fetched(arguments.model_dir) as model:
        info = model.info
        examples = dataset.find_examples(arguments.data)
        unknown = sorted({example.label for example in examples} - set(info.labels))
        if unknown:
            raise UserError(
                f"{arguments.data} has classes that the model does not know: {', '.join(map(repr, unknown))}"
            )
        probabilities = model.load()
        result = classify(examples, len(examples), info.image, console.limits(arguments), probabilities)
    if not result.examples:
        raise UserError(f"none of the {len(examples):,} files in {arguments.data} can be read as a photo")
    index = {label: number for number, label in enumerate(info.labels)}
    truth = np.array([index[example.label] for example in result.examples])
    metrics = evaluation.metrics(truth, result.probabilities, info.labels)
    _print_metrics(info, metrics, result)
    if output:
        import tensorflow as tf

        try:
            _write_evaluation(output, arguments.data, info, metrics, result, truth)
        except tf.errors.OpError as error:
            raise UserError(f"--output {output} cannot be written: {error.message}") from error


def _check_output(output: str) -> None:
    """Makes sure that `output` is new and, on a local disk, can be made, before any work is done."""
    import tensorflow as tf

    if tf.io.gfile.exists(output) and (not tf.io.gfile.isdir(output) or tf.io.gfile.listdir(output)):
        raise UserError(f"--output {output} exists: choose another folder")
    if not files.is_remote(output):
        above = next(
            folder for folder in (Path(os.path.abspath(output)), *Path(output).absolute().parents) if folder.exists()
        )
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(f"--output {output} cannot be made in {above}: choose another folder")


def _print_metrics(info: model_dir.ModelInfo, metrics: dict, result: Classified) -> None:
    width = max(map(len, info.labels))
    print(f"{'class':{width}}  precision  recall     F1  photos")
    for label, values in metrics["per_class"].items():
        cells = ("–" if values[name] is None else f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))
        precision, recall, f1 = cells
        print(f"{label:{width}}  {precision:>9}  {recall:>6}  {f1:>5}  {values['support']:6,}")
    print(
        f"accuracy {metrics['accuracy']:.4f}  log loss {metrics['log_loss']:.4f}  photos {metrics['examples']:,}  "
        f"model {info.id}"
    )
    if result.unreadable:
        reasons = collections.Counter(photo.error.reason.code for photo in result.unreadable)
        print("unreadable: " + ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()))


def _write_evaluation(
    output: str, data: str, info: model_dir.ModelInfo, metrics: dict, result: Classified, truth: np.ndarray
) -> None:
    import tensorflow as tf

    from trainer.report import evaluation_page

    def write(name: str, content: str) -> None:
        with tf.io.gfile.GFile(f"{output.rstrip('/')}/{name}", "w") as file:
            file.write(content)

    tf.io.gfile.makedirs(output)
    unreadable = [
        {"uri": p.example.uri, "reason": p.error.reason.code, "message": p.error.message} for p in result.unreadable
    ]
    content = {"model_id": info.id, "labels": list(info.labels), **metrics, "unreadable": unreadable}
    write("evaluation.json", json.dumps(content, indent=1))  # ASCII, since a file's name need not be UTF-8
    lines = []
    for example, row in zip(result.examples, result.probabilities, strict=True):
        scores = {label: float(score) for label, score in zip(info.labels, row, strict=True)}
        record = {"uri": example.uri, "truth": example.label, "label": info.labels[row.argmax()], "scores": scores}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    write("predictions.jsonl", "".join(lines))
    uris = [example.uri for example in result.examples]
    subject = f"{len(uris):,} photos of {data}"
    report = evaluation_page(info, metrics, uris, truth, result.probabilities, len(result.unreadable), subject=subject)
    write("report.html", report)
    say(f"written to {output}")


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``predict``."""
    parser.add_argument("--model-dir", type=console.path, required=True, metavar="DIR", help="what train wrote")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="photos, at any path that TensorFlow can read")
    console.add_limit_arguments(parser)


def predict(arguments: argparse.Namespace) -> None:
    """Prints the best labels of a few photos, in the order given; fails if one of them cannot be read."""
    with model_dir.fetched(arguments.model_dir) as model:
        labels = model.info.labels
        probabilities = model.load()
        spec, limits = model.info.image, console.limits(arguments)
        photos = [dataset.read_photo(dataset.Example(path, ""), spec, limits) for path in arguments.images]
        readable = [photo for photo in photos if isinstance(photo, dataset.Photo)]
        batches = [readable[start : start + BATCH_SIZE] for start in range(0, len(readable), BATCH_SIZE)]
        rows = (row for batch in batches for row in probabilities(np.stack([photo.image for photo in batch])))
        for photo in photos:
            if isinstance(photo, dataset.Photo):
                print(f"{photo.example.uri}: {_best(next(rows), labels)}")
            else:
                print(f"{photo.example.uri}: not classified, {photo.error}")
    if len(readable) < len(photos):
        raise CommandFailed(f"{len(photos) - len(readable)} of {len(photos)} files could not be read as a photo")


def _best(row: np.ndarray, labels: Sequence[str]) -> str:
    return ", ".join(f"{labels[index]} {row[index]:.4f}" for index in np.argsort(-row, kind="stable")[:TOP])
