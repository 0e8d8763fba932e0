"""The ``train`` command: labelled photos to a model directory. Vertex AI's name for a trainer's entry module."""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import datetime
import hashlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer import (
    checkpoints,
    checks,
    console,
    dataset,
    distribution,
    evaluate,
    evaluation,
    files,
    inference,
    learning,
    model_dir,
    options,
)
from trainer.checkpoints import FEATURES, Checkpoints
from trainer.console import CommandFailed, UserError, say
from trainer.learning import Job, Learnt, Prepared
from trainer.options import TrainConfig
from trainer.preprocessing import POLICY
from trainer.report import Evaluated, evaluation_page

if TYPE_CHECKING:
    import keras

GOLDEN_IMAGES = 16
_PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


def train(config: TrainConfig) -> model_dir.ModelInfo | None:
    """Trains a model and writes its model directory.

    Returns:
        What is known of the model; None on a worker that is not the one to write it.

    Raises:
        UserError: something the user can put right; nothing has been written.
    """
    start = time.monotonic()
    examples = dataset.find_examples(config.data)
    held_out = dataset.find_examples(config.validation_data) if config.validation_data else []
    checks.check_examples(examples, held_out)
    evaluate.check_gate_names(config.fail_under, sorted({example.label for example in examples}))
    if dataset.is_folder(config.data):
        checks.warn_of_sub_folders(examples)
    _check_output(config)
    say("importing TensorFlow and building the network")
    devices = distribution.find()
    with contextlib.ExitStack() as stack:
        workplace = stack.enter_context(model_dir.workplace(config.model_dir)) if devices.is_chief else None
        checkpoints = stack.enter_context(_kept(config, examples, held_out)) if devices.is_chief else Checkpoints(None)
        scratch = stack.enter_context(_scratch(config, checkpoints))
        labels = tuple(sorted({example.label for example in examples}))
        watch = stack.enter_context(_event_files(config.log_dir if devices.is_chief else None))
        job = Job(config, labels, devices, checkpoints, scratch, watch)
        with devices.together():
            info = _train(job, examples, held_out, workplace)
    if info is None:
        return None
    epoch = f"epoch {info.training['best_epoch']} of {config.main.epochs}"
    photos = info.data["validation_photos"]
    say(f"validation accuracy {info.metrics['accuracy']:.3f} on {photos:,} photos, {epoch}")
    say(f"model {info.id} written to {config.model_dir} after {time.monotonic() - start:.0f} s")
    return info


@contextlib.contextmanager
def _kept(
    config: TrainConfig, examples: Sequence[dataset.Example], held_out: Sequence[dataset.Example]
) -> Iterator[Checkpoints]:
    """The run's checkpoints; they stay where it is interrupted, and where a run that went on with them fails."""
    named = [[example.uri, example.label] for example in (*examples, *held_out)]
    run = config.what_changes_the_result | {"photos": hashlib.sha256(repr(named).encode()).hexdigest()}
    folder = config.checkpoint_dir.rstrip("/")
    opened = checkpoints.opened(folder, run, resume=config.resume, seconds=config.checkpoint_seconds)
    try:
        yield opened
    except (UserError, CommandFailed):
        if not opened.resumed:
            checkpoints.remove(folder)
        raise
    except KeyboardInterrupt:
        say(f"what was done is kept in {folder}: the same command with --resume goes on")
        raise
    checkpoints.remove(folder)


@contextlib.contextmanager
def _scratch(config: TrainConfig, kept: Checkpoints) -> Iterator[Path]:
    """A local folder for what the frozen network makes of the photos, with the checkpoints where they are local."""
    if kept.folder and not files.is_remote(kept.folder):
        features = Path(kept.folder, FEATURES)
        features.mkdir(exist_ok=True)
        yield features
        return
    with tempfile.TemporaryDirectory(prefix="trainer-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _event_files(folder: str | None) -> Iterator[Callable[[str, int, dict[str, float]], None]]:
    """Writes what TensorBoard shows; the result is called after each epoch of each stage."""
    import tensorflow as tf

    if folder is None:
        yield lambda stage, epoch, values: None
        return
    writers: dict[str, Any] = {}
    metadata = tf.compat.v1.SummaryMetadata()  # as `tf.summary.scalar` has it, which needs TensorBoard installed
    metadata.plugin_data.plugin_name = "scalars"
    metadata.data_class = 1  # DATA_CLASS_SCALAR

    def write(stage: str, epoch: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            side = "validation" if name.startswith("val_") else "training"
            path = f"{folder.rstrip('/')}/{stage}/{side}"
            if path not in writers:
                writers[path] = tf.summary.create_file_writer(path)
            with writers[path].as_default():
                tag = f"epoch_{name.removeprefix('val_')}"
                tf.summary.write(tag, tf.constant(value, tf.float32), epoch, metadata)
        for writer in writers.values():
            writer.flush()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()


def _train(
    job: Job,
    examples: Sequence[dataset.Example],
    held_out: Sequence[dataset.Example],
    workplace: Path | None,
) -> model_dir.ModelInfo | None:
    config = job.config
    prepared = learning.prepare(job, examples, held_out)
    learnt = learning.fit(job, prepared)
    if workplace is None:
        return None
    validation = np.flatnonzero(prepared.validates)
    truth, main = prepared.truth[validation], learnt.main
    temperature = evaluation.fit_temperature(main.logits, truth)
    model = learning.portable(job, learnt.network).calibrated(temperature)
    probabilities = evaluation.softmax(main.logits / temperature)
    validating = [prepared.encoded.examples[row] for row in validation]
    if job.policy != learning.FULL_PRECISION:  # what is reported is what the exported network says
        run = inference.compiled(model)
        probabilities = inference.classify(validating, len(validating), config.image, config.limits, run).probabilities
    subject = f"validation photos of {config.validation_data or config.data}"
    uris = [example.uri for example in validating]
    validated = Evaluated(subject, uris, truth, probabilities, len(prepared.encoded.unreadable))
    metrics = evaluation.metrics(truth, probabilities, job.labels, temperature)
    evaluate.check_gates(metrics, config.fail_under)
    info = dataclasses.replace(_describe(job, prepared, learnt, temperature), metrics=metrics)
    return _write(config, model, info, validated, workplace)


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
    if inside and not files.is_remote(path):
        raise UserError(f"--model-dir {path} is inside --data: its files would be taken for photos; choose another")


def _describe(job: Job, prepared: Prepared, learnt: Learnt, temperature: float) -> model_dir.ModelInfo:
    """What is known of the model before it is written; `trainer.model_dir.write` fills in the rest."""
    config, encoded, validates = job.config, prepared.encoded, prepared.validates
    names = np.array(encoded.labels)[~validates]
    content = sorted(zip(encoded.labels, encoded.content_hashes, strict=True))
    return model_dir.ModelInfo(
        id="",
        labels=job.labels,
        image=config.image,
        policy=POLICY,
        temperature=temperature,
        class_shares={label: float((names == label).mean()) for label in job.labels},
        metrics={},
        training={
            **config.what_changes_the_result,
            "cut": learnt.network.cut,
            "policy": job.policy,
            "workers": job.devices.workers,
            "replicas": job.devices.replicas,
            "best_epoch": learnt.main.best_epoch,
            "epochs_run": list(learnt.main.epochs),
            "head_epochs_run": list(learnt.head.epochs) if learnt.head else [],
        },
        network=tuple(learnt.network.layers()),
        data={
            "training_photos": int((~validates).sum()),
            "validation_photos": int(validates.sum()),
            "unreadable_photos": len(encoded.unreadable),
            "validation": "given" if config.validation_data else f"{checks.VALIDATION_FRACTION} by content hash",
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
    validation: Evaluated,
    workplace: Path,
) -> model_dir.ModelInfo:
    """Writes the model directory, all of it or nothing."""
    report = evaluation_page(info, info.metrics, validation, fitting=True)
    golden = _golden_images(validation, config)
    say("writing the model directory")
    written = model_dir.write(workplace / "model", model, info, golden, report)
    model_dir.publish(written.path, config.model_dir)
    return written.info


def _golden_images(validation: Evaluated, config: TrainConfig) -> np.ndarray:
    """A few validation photos, one of each class before a second of any: uint8 [G, H, W, 3]."""
    seen: collections.Counter[int] = collections.Counter()
    ranked = []
    for path, label in zip(validation.uris, validation.truth, strict=True):
        ranked.append((seen[label], path))
        seen[label] += 1
    chosen = [dataset.Example(path, "") for _, path in sorted(ranked, key=lambda item: item[0])[:GOLDEN_IMAGES]]
    photos = [dataset.read_photo(example, config.image, config.limits) for example in chosen]
    return np.stack([photo.image for photo in photos if isinstance(photo, dataset.Photo)])


def run(arguments: argparse.Namespace) -> None:
    """The command: trains as the flags say."""
    train(options.config_from(arguments))


def main(argv: Sequence[str] | None = None, prog: str = "python -m trainer.task") -> int:
    """Parses the command line and trains. Returns the exit code."""
    parser = console.Parser(prog=prog, description="Train a classifier on labelled photos and write a model directory.")
    options.add_arguments(parser)
    console.add_output_arguments(parser)
    arguments, unknown = parser.parse_known_args(argv)

    def command() -> None:
        console.refuse_unknown(unknown, parser.flags())
        run(arguments)

    return console.run(command, prog=prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    sys.exit(main())
