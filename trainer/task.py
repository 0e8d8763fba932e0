"""The ``train`` command: labelled photos to a model directory. Vertex AI's name for a trainer's entry module."""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogue.cli import console
from catalogue.cli.console import CommandFailed, UserError, counted, say, versions
from catalogue.images.reader import POLICY
from catalogue.model_dir import directory as model_dir
from catalogue.storage import files
from trainer.commands import evaluate
from trainer.commands import train_flags as options
from trainer.commands.train_flags import TrainConfig
from trainer.data import checks, dataset
from trainer.evaluation import inference
from trainer.evaluation import metrics as evaluation
from trainer.evaluation.report import Evaluated, evaluation_page
from trainer.fitting import checkpoints, distribution, events, learning
from trainer.fitting.checkpoints import FEATURES, Checkpoints
from trainer.fitting.learning import Job, Learnt, Prepared
from trainer.networks import pretrained
from trainer.networks.network import Network

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
    examples = dataset.find_examples(config.data, labelled=not config.as_it_is)
    held_out = dataset.find_examples(config.validation_data) if config.validation_data else []
    labels = tuple(sorted({example.label for example in examples}))
    classes = pretrained.classes() if config.as_it_is else None
    if classes:
        labels = classes.names
    else:
        checks.check_examples(examples, held_out)
        if dataset.is_folder(config.data):
            checks.warn_of_sub_folders(examples)
    evaluate.check_gate_names(config.fail_under, labels)
    photos = _digest_of([*examples, *held_out])
    finished = _finished(config, photos) if config.resume else None
    if finished:
        checkpoints.remove_those_of(config.checkpoint_dir.rstrip("/"), _run_of(config, photos))
        say(f"model {finished.id} is in {config.model_dir}, finished: there is nothing to go on with")
        return finished
    _check_output(config)
    say("importing TensorFlow and building the network")
    devices = distribution.find()
    with contextlib.ExitStack() as stack:
        workplace = stack.enter_context(model_dir.workplace(config.model_dir)) if devices.is_chief else None
        kept = stack.enter_context(_kept(config, photos)) if devices.is_chief else Checkpoints(None)
        scratch = stack.enter_context(_scratch(config, kept))
        watch = stack.enter_context(events.written(config.log_dir if devices.is_chief else None))
        job = Job(config, labels, photos, devices, kept, scratch, watch)
        with devices.together():
            if classes:
                info = _take_as_it_is(job, classes, examples, workplace) if workplace else None
            else:
                info = _train(job, examples, held_out, workplace)
    if info is None:
        return None
    if info.metrics:
        epoch = "" if classes else f", epoch {info.training['best_epoch']} of {config.main.epochs}"
        count = info.data["validation_photos"]
        say(f"validation accuracy {info.metrics['accuracy']:.3f} on {counted(count, 'photo')}{epoch}")
    say(f"model {info.id} written to {config.model_dir} after {time.monotonic() - start:.0f} s")
    return info


def _run_of(config: TrainConfig, photos: str) -> dict[str, Any]:
    """What is trained: runs that agree in it may go on from each other's checkpoints."""
    return config.what_changes_the_result | {"photos": photos}


@contextlib.contextmanager
def _kept(config: TrainConfig, photos: str) -> Iterator[Checkpoints]:
    """The run's checkpoints; they stay where it is interrupted, and where a run that went on with them fails."""
    folder = config.checkpoint_dir.rstrip("/")
    opened = checkpoints.opened(
        folder, _run_of(config, photos), resume=config.resume, seconds=config.checkpoint_seconds
    )
    try:
        yield opened
    except (UserError, CommandFailed):
        if not opened.resumed:
            checkpoints.remove(folder)
        raise
    except KeyboardInterrupt:
        say(f"what was done is kept in {folder}: train with the same flags and --resume goes on")
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
    info = dataclasses.replace(_describe_learnt(job, prepared, learnt), temperature=temperature, metrics=metrics)
    return _write(config, model, info, validated, workplace)


def _take_as_it_is(
    job: Job, classes: pretrained.Classes, examples: Sequence[dataset.Example], workplace: Path
) -> model_dir.ModelInfo:
    """Writes a pretrained network with its own head; the photos are to try it on."""
    config = job.config
    network = pretrained.build(config.backbone, config.weights, config.image.size)
    model = network.calibrated(1.0)
    result = inference.classify(examples, len(examples), config.image, config.limits, inference.compiled(model))
    checks.report_unreadable(result, len(examples))
    truth = classes.numbers_of([example.label for example in result.examples])
    known = truth >= 0
    metrics = evaluation.metrics(truth[known], result.probabilities[known], job.labels) if known.any() else {}
    if config.fail_under and not metrics:
        raise UserError("--fail-under needs photos with ImageNet's labels: none of --data has one")
    evaluate.check_gates(metrics, config.fail_under)
    if metrics and not known.all():
        say(f"not measured: {counted(int((~known).sum()), 'photo')} without a label of ImageNet's")
    shown = known if metrics else ~known
    uris = [result.examples[row].uri for row in np.flatnonzero(shown)]
    tried = Evaluated(
        f"photos of {config.data}", uris, truth[shown], result.probabilities[shown], len(result.unreadable)
    )
    data = {
        "training_photos": 0,
        "validation_photos": int(known.sum()),
        "unreadable_photos": len(result.unreadable),
        "validation": "given",
    }
    fitting = {"policy": learning.FULL_PRECISION, "class_ids": list(classes.ids)}
    info = dataclasses.replace(_describe(job, network, fitting, {}, data), metrics=metrics)
    return _write(config, model, info, tried, workplace)


def _check_output(config: TrainConfig) -> None:
    """Refuses to replace what may not be replaced, before any work is done."""
    import tensorflow as tf

    path = config.model_dir.rstrip("/")
    for flag, place in (("--model-dir", path), ("--checkpoint-dir", config.checkpoint_dir)):
        for data in filter(None, (config.data, config.validation_data)):
            _refuse_inside(flag, place, data)
    if not tf.io.gfile.exists(path):
        return
    if not tf.io.gfile.isdir(path):
        raise UserError(f"{path} is a file: --model-dir takes a folder")
    if not tf.io.gfile.listdir(path):
        return
    foreign = model_dir.foreign_files(path)
    if foreign is None:
        raise UserError(f"{path} exists and is no model directory: choose another --model-dir")
    if foreign:
        raise UserError(f"{path} holds files that are not the model's, {foreign[0]!r}: choose another --model-dir")
    if not config.overwrite:
        raise UserError(f"{path} holds a model: choose another --model-dir or give --overwrite")


def _refuse_inside(flag: str, place: str, data: str) -> None:
    if files.is_remote(place) != files.is_remote(data):
        return
    inner, outer = (path.rstrip("/") if files.is_remote(path) else os.path.realpath(path) for path in (place, data))
    if f"{inner}/".startswith(f"{outer}/"):
        raise UserError(f"{flag} {place} is inside {data}: its files would be taken for photos; choose another")


def _finished(config: TrainConfig, photos: str) -> model_dir.ModelInfo | None:
    """The model that this very run has written already, as where its machine was lost a moment later."""
    try:
        with model_dir.fetched(config.model_dir) as model:
            info = model.info
    except model_dir.ModelDirError:
        return None
    wanted = json.loads(json.dumps(config.what_changes_the_result))
    same = all(info.training.get(name) == value for name, value in wanted.items())
    return info if same and info.data.get("photos") == photos else None


def _digest_of(examples: Sequence[dataset.Example]) -> str:
    """A hash of the names and labels of photos, in their order."""
    return hashlib.sha256(repr([[example.uri, example.label] for example in examples]).encode()).hexdigest()


def _describe_learnt(job: Job, prepared: Prepared, learnt: Learnt) -> model_dir.ModelInfo:
    config, encoded, validates = job.config, prepared.encoded, prepared.validates
    names = np.array(encoded.labels)[~validates]
    content = sorted(zip(encoded.labels, encoded.content_hashes, strict=True))
    fitting = {
        "frozen_in_bfloat16": prepared.encoder.has_rounded,
        "best_epoch": learnt.main.best_epoch,
        "epochs_run": list(learnt.main.epochs),
        "head_epochs_run": list(learnt.head.epochs) if learnt.head else [],
    }
    data = {
        "training_photos": int((~validates).sum()),
        "validation_photos": int(validates.sum()),
        "unreadable_photos": len(encoded.unreadable),
        "validation": "given" if config.validation_data else f"{checks.VALIDATION_FRACTION} by content hash",
        "fingerprint": hashlib.sha256(repr(content).encode()).hexdigest(),
    }
    shares = {label: float((names == label).mean()) for label in job.labels}
    return _describe(job, learnt.network, fitting, shares, data)


def _describe(
    job: Job,
    network: Network,
    fitting: dict[str, Any],
    class_shares: dict[str, float],
    data: dict[str, Any],
) -> model_dir.ModelInfo:
    """What is known of the model before it is written; `catalogue.model_dir.directory.write` fills in the rest."""
    config = job.config
    return model_dir.ModelInfo(
        id="",
        labels=job.labels,
        image=config.image,
        policy=POLICY,
        temperature=1.0,
        class_shares=class_shares,
        metrics={},
        training={
            **config.what_changes_the_result,
            "cut": network.cut,
            "policy": job.policy,
            "frozen_in_bfloat16": False,
            "workers": job.devices.workers,
            "replicas": job.devices.replicas,
            "best_epoch": 0,
            "epochs_run": [],
            "head_epochs_run": [],
            **fitting,
        },
        network=tuple(network.layers()),
        data={"photos": job.photos, **data},
        versions={"python": platform.python_version()} | versions(_PACKAGES),
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
    report = evaluation_page(info, info.metrics, validation, fitting=bool(info.training["epochs_run"]))
    golden = _golden_images(validation, config)
    say("writing the model directory")
    written = model_dir.write(workplace / "model", model, info, golden, report)
    model_dir.publish(written.path, config.model_dir)
    return written.info


def _golden_images(validation: Evaluated, config: TrainConfig) -> np.ndarray:
    """A few validation photos with a clear label, one of each class before a second of any: uint8 [G, H, W, 3].

    If so many are not clear, it is the clearest.
    """
    second, first = np.sort(validation.probabilities, axis=1)[:, -2:].T
    margins = first - second
    count = max(int((margins >= model_dir.GOLDEN_MARGIN).sum()), GOLDEN_IMAGES)
    seen: collections.Counter[int] = collections.Counter()
    ranked = []
    for row in np.sort(np.argsort(-margins, kind="stable")[:count]).tolist():
        label = validation.truth[row]
        ranked.append((seen[label], validation.uris[row]))
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
    console.leave(main())
