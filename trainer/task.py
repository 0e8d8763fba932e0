"""The ``train`` command: labelled photos to a model directory. Vertex AI's name for a trainer's entry module."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import hashlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer import backbones, console, dataset, evaluation, fitting, model_dir
from trainer.console import UserError, say
from trainer.preprocessing import POLICY, RESIZE_RULES, ImageSpec, Limits

if TYPE_CHECKING:
    import keras

VALIDATION_FRACTION = 0.1
GOLDEN_IMAGES = 16
EPOCHS_OF_HEAD, EPOCHS_OF_ALL = 20, 30
_PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that ``train`` is told.

    Attributes:
        data: a folder with one sub-folder for each class.
        validation_data: the like, to choose the best epoch by; None for a part of `data`.
        model_dir: where the model directory is written.
        backbone, weights: see `trainer.backbones.build`.
        image: the images the network takes.
        limits: which photos are too large.
        options: how the network is fitted.
        overwrite: whether a model directory at `model_dir` may be replaced.
    """

    data: str
    validation_data: str | None
    model_dir: str
    backbone: str
    weights: str
    image: ImageSpec
    limits: Limits
    options: fitting.FitOptions
    overwrite: bool


@dataclasses.dataclass(frozen=True)
class _Validation:
    """The N validation photos: where they are, their right labels int [N], their probabilities float [N, K]."""

    paths: Sequence[str]
    truth: np.ndarray
    probabilities: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``train``."""
    model_dir_default = os.environ.get("AIP_MODEL_DIR")
    add = parser.add_argument
    add(
        "--data",
        type=console.path,
        required=True,
        metavar="DIR",
        help="folder with one sub-folder of photos for each class",
    )
    add(
        "--validation-data",
        type=console.path,
        metavar="DIR",
        help="the like, to choose the best epoch by; without it a tenth of --data is held out",
    )
    add(
        "--model-dir",
        type=console.path,
        default=model_dir_default,
        required=not model_dir_default,
        metavar="DIR",
        help="where the model directory goes; Vertex AI's AIP_MODEL_DIR is the default",
    )
    add("--backbone", default="MobileNetV2", metavar="NAME", help="a network of keras.applications, or 'small'")
    add(
        "--weights",
        metavar="imagenet|none|FILE",
        help="weights to start from; with 'none' every layer is fitted (default: imagenet, none for 'small')",
    )
    add(
        "--image-size",
        type=console.positive_int,
        metavar="PIXELS",
        help="side of the images the network sees (default: 224, 96 for 'small')",
    )
    add(
        "--resize",
        choices=RESIZE_RULES,
        default=RESIZE_RULES[0],
        help="how a photo becomes that square: its middle cropped, white padded beside it, or stretched",
    )
    add(
        "--epochs",
        type=console.positive_int,
        metavar="N",
        help=f"the best one is kept (default: {EPOCHS_OF_HEAD}, {EPOCHS_OF_ALL} where every layer is fitted)",
    )
    add("--batch-size", type=console.positive_int, default=32, metavar="N", help="photos to a step")
    add("--learning-rate", type=console.positive_float, default=1e-3, metavar="R", help="of Adam")
    add("--dropout", type=console.fraction, default=0.2, metavar="R", help="before the last layer")
    add(
        "--seed",
        type=console.seed,
        default=0,
        metavar="N",
        help="of the initial weights, the shuffling and the dropout",
    )
    add("--overwrite", action="store_true", help="replace the model directory that is there")
    console.add_limit_arguments(parser)


def config_from(arguments: argparse.Namespace) -> TrainConfig:
    """Flags to a `TrainConfig`."""
    a = arguments
    weights = a.weights or backbones.default_weights(a.backbone)
    epochs = a.epochs or (EPOCHS_OF_ALL if weights == backbones.NONE else EPOCHS_OF_HEAD)
    return TrainConfig(
        data=a.data,
        validation_data=a.validation_data,
        model_dir=a.model_dir,
        backbone=a.backbone,
        weights=weights,
        image=_image_spec(a.image_size or backbones.default_image_size(a.backbone), a.resize),
        limits=console.limits(a),
        options=fitting.FitOptions(epochs, a.batch_size, a.learning_rate, a.dropout, a.seed),
        overwrite=a.overwrite,
    )


def train(config: TrainConfig) -> model_dir.ModelInfo:
    """Trains a model and writes its model directory.

    Raises:
        UserError: something the user can put right; nothing has been written.
    """
    start = time.monotonic()
    examples = dataset.find_examples(config.data)
    held_out = dataset.find_examples(config.validation_data) if config.validation_data else []
    _check_examples(examples, held_out)
    _check_output(config)
    with model_dir.workplace(config.model_dir) as workplace:
        info = _train(config, examples, held_out, workplace)
    epoch = f"epoch {info.training['best_epoch']} of {config.options.epochs}"
    photos = info.data["validation_photos"]
    say(f"validation accuracy {info.metrics['accuracy']:.3f} on {photos:,} photos, {epoch}")
    say(f"model {info.id} written to {config.model_dir} after {time.monotonic() - start:.0f} s")
    return info


def _train(
    config: TrainConfig,
    examples: Sequence[dataset.Example],
    held_out: Sequence[dataset.Example],
    workplace: Path,
) -> model_dir.ModelInfo:
    say("importing Keras and building the network")
    import keras

    keras.backend.clear_session()  # layers are numbered from one again: the same seed gives the same model id
    keras.utils.set_random_seed(config.options.seed)
    labels = sorted({example.label for example in examples})
    backbone = backbones.build(config.backbone, config.weights, config.image.size)
    freeze = config.weights != backbones.NONE
    network = fitting.Network.on(backbone, len(labels), config.options.dropout, freeze=freeze)
    with tempfile.TemporaryDirectory(prefix="trainer-") as scratch:
        photos = dataset.read_photos([*examples, *held_out], config.image, config.limits)
        total = len(examples) + len(held_out)
        encoded = fitting.encode(photos, total, network, config.options.batch_size, scratch)
        _report_unreadable(encoded, total)
        validates = _validation(encoded, {example.path for example in held_out})
        _report_classes(encoded, validates, labels)
        truth = np.searchsorted(labels, encoded.labels)
        training, validation = np.flatnonzero(~validates), np.flatnonzero(validates)
        fitted = fitting.fit(network.fitted, encoded.values, truth, training, validation, config.options)
    paths = [encoded.paths[row] for row in validation]
    validated = _Validation(paths, truth[validation], evaluation.softmax(fitted.logits / fitted.temperature))
    info = _describe(config, labels, encoded, validates, fitted)
    info = dataclasses.replace(info, metrics=evaluation.metrics(validated.truth, validated.probabilities, labels))
    return _write(config, network.calibrated(fitted.temperature), info, validated, workplace)


def _check_output(config: TrainConfig) -> None:
    """Refuses to replace what may not be replaced, before any work is done."""
    import tensorflow as tf

    path = config.model_dir.rstrip("/")
    if not tf.io.gfile.exists(path):
        _refuse_inside(path, config.data)
        return
    if not tf.io.gfile.isdir(path):
        raise UserError(f"{path} is a file: --model-dir takes a folder")
    if not tf.io.gfile.listdir(path):
        _refuse_inside(path, config.data)
        return
    foreign = model_dir.foreign_files(path)
    if foreign is None:
        raise UserError(f"{path} exists and is no model directory: choose another --model-dir")
    if foreign:
        raise UserError(f"{path} holds files that are not the model's, {foreign[0]!r}: choose another --model-dir")
    if not config.overwrite:
        raise UserError(f"{path} holds a model: choose another --model-dir or give --overwrite")


def _refuse_inside(path: str, data: str) -> None:
    inside = f"{os.path.realpath(path)}/".startswith(f"{os.path.realpath(data)}/")
    if inside and not model_dir.is_remote(path):
        raise UserError(f"--model-dir {path} is inside --data: its files would be taken for photos; choose another")


def _check_examples(examples: Sequence[dataset.Example], held_out: Sequence[dataset.Example]) -> None:
    unknown = sorted({example.label for example in held_out} - {example.label for example in examples})
    if unknown:
        raise UserError(f"--validation-data has classes that --data has not: {', '.join(map(repr, unknown))}")
    folders = collections.defaultdict(set)
    for example in examples:
        folders[example.label].add(os.path.dirname(example.path))
    for label, found in sorted(folders.items()):
        if len(found) > 1 and not any(folder.endswith(f"/{label}") for folder in found):
            say(f"warning: all photos of {label!r} lie in {len(found)} sub-folders; is --data one level too high?")
    same = {os.path.realpath(example.path) for example in examples} & {os.path.realpath(e.path) for e in held_out}
    if same:
        raise UserError(f"--validation-data and --data share {len(same):,} files: give photos that are not trained on")


def _image_spec(size: int, resize: str) -> ImageSpec:
    try:
        return ImageSpec(size, resize)
    except ValueError as error:
        raise UserError(f"--image-size: {error}") from error


def _report_unreadable(encoded: fitting.Encoded, total: int) -> None:
    """Says what was skipped and why. Photos that break are the user's to mend, not a reason to stop."""
    if not encoded.unreadable:
        return
    if not encoded.paths:
        first = encoded.unreadable[0]
        raise UserError(
            f"none of the {total:,} files can be read as a photo, such as {first.example.path}: {first.error}"
        )
    reasons = collections.Counter(photo.error.reason.code for photo in encoded.unreadable)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    say(f"skipped {len(encoded.unreadable):,} of {total:,} photos that cannot be read: {counted}")
    for photo in encoded.unreadable[:10]:
        say(f"  {photo.example.path}: {photo.error}")
    if len(encoded.unreadable) > 10:
        say(f"  and {len(encoded.unreadable) - 10:,} more")


def _validation(encoded: fitting.Encoded, held_out: set[str]) -> np.ndarray:
    """Which photos validate, bool [N]: those of --validation-data, or a part chosen by content."""
    if not held_out:
        return dataset.validation_mask(encoded.labels, encoded.content_hashes, VALIDATION_FRACTION)
    mask = np.array([path in held_out for path in encoded.paths])
    sides = np.array(encoded.content_hashes)
    both = np.intersect1d(sides[mask], sides[~mask])
    if len(both):
        say(
            f"warning: {len(both):,} photos are in --data and in --validation-data: "
            "the accuracy will look better than it is"
        )
    return mask


def _report_classes(encoded: fitting.Encoded, validates: np.ndarray, labels: Sequence[str]) -> None:
    """Shows the photos of each class on each side, and refuses a class that has none to learn from."""
    names = np.array(encoded.labels)
    width = max(map(len, labels))
    say(f"{'class':{width}}  training  validation")
    for label in labels:
        counts = ((names == label) & ~validates).sum(), ((names == label) & validates).sum()
        say(f"{label:{width}}  {counts[0]:8,}  {counts[1]:10,}")
    without = sorted(set(labels) - set(names[~validates]))
    if without:
        raise UserError(f"no readable training photos of {', '.join(map(repr, without))}: mend or remove the class")
    if not validates.any():
        raise UserError("no readable photos to validate on: mend them or leave --validation-data out")
    by_content = collections.defaultdict(set)
    for content_hash, label in zip(encoded.content_hashes, encoded.labels, strict=True):
        by_content[content_hash].add(label)
    ambiguous = sum(len(found) > 1 for found in by_content.values())
    if ambiguous:
        say(f"warning: {ambiguous:,} photos stand in more than one class")


def _describe(
    config: TrainConfig,
    labels: Sequence[str],
    encoded: fitting.Encoded,
    validates: np.ndarray,
    fitted: fitting.Fitted,
) -> model_dir.ModelInfo:
    """What is known of the model before it is written; `trainer.model_dir.write` fills in the rest."""
    names = np.array(encoded.labels)[~validates]
    content = sorted(zip(encoded.labels, encoded.content_hashes, strict=True))
    return model_dir.ModelInfo(
        id="",
        labels=tuple(labels),
        image=config.image,
        policy=POLICY,
        temperature=fitted.temperature,
        class_shares={label: float((names == label).mean()) for label in labels},
        metrics={},
        training={
            "backbone": config.backbone,
            "weights": config.weights,
            "frozen_backbone": config.weights != backbones.NONE,
            **dataclasses.asdict(config.options),
            "best_epoch": fitted.best_epoch,
            "epochs_run": list(fitted.epochs),
        },
        data={
            "training_photos": int((~validates).sum()),
            "validation_photos": int(validates.sum()),
            "unreadable_photos": len(encoded.unreadable),
            "validation": "given" if config.validation_data else f"{VALIDATION_FRACTION} by content hash",
            "fingerprint": hashlib.sha256(repr(content).encode()).hexdigest(),
        },
        versions={"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        files={},
    )


def _write(
    config: TrainConfig,
    model: keras.Model,
    info: model_dir.ModelInfo,
    validation: _Validation,
    workplace: Path,
) -> model_dir.ModelInfo:
    """Writes the model directory, all of it or nothing."""
    from trainer.report import evaluation_page

    unreadable = info.data["unreadable_photos"]
    report = evaluation_page(
        info,
        info.metrics,
        validation.paths,
        validation.truth,
        validation.probabilities,
        unreadable,
        subject=f"validation photos of {config.validation_data or config.data}",
        fitting=True,
    )
    golden = _golden_images(validation, config)
    say("writing the model directory")
    written = model_dir.write(workplace / "model", model, info, golden, report)
    model_dir.publish(written.path, config.model_dir)
    return written.info


def _golden_images(validation: _Validation, config: TrainConfig) -> np.ndarray:
    """A few validation photos, one of each class before a second of any: uint8 [G, H, W, 3]."""
    seen: collections.Counter[int] = collections.Counter()
    ranked = []
    for path, label in zip(validation.paths, validation.truth, strict=True):
        ranked.append((seen[label], path))
        seen[label] += 1
    chosen = [dataset.Example(path, "") for _, path in sorted(ranked, key=lambda item: item[0])[:GOLDEN_IMAGES]]
    photos = [dataset.read_photo(example, config.image, config.limits) for example in chosen]
    return np.stack([photo.image for photo in photos if isinstance(photo, dataset.Photo)])


def run(arguments: argparse.Namespace) -> None:
    """The command: trains as the flags say."""
    train(config_from(arguments))


def main(argv: Sequence[str] | None = None, prog: str = "python -m trainer.task") -> int:
    """Parses the command line and trains. Returns the exit code."""
    parser = console.Parser(prog=prog, description="Train a classifier on labelled photos and write a model directory.")
    add_arguments(parser)
    console.add_output_arguments(parser)
    arguments, unknown = parser.parse_known_args(argv)

    def command() -> None:
        console.refuse_unknown(unknown, parser.flags())
        run(arguments)

    return console.run(command, prog=prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    sys.exit(main())
