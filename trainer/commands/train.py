"""The ``train`` command: checks flags and data, detects a run that is already complete, then trains and reports."""

from __future__ import annotations

import os
import time

from catalogue import model_dir, storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.reasons import StorageError
from trainer.config import TrainConfig
from trainer.data import checks
from trainer.data.examples import is_folder
from trainer.data.identity import contents_digest, contents_of
from trainer.data.sides import Sides, find_sides
from trainer.evaluation import gates, verdict
from trainer.export import publishing
from trainer.fitting import checkpoints


def train(config: TrainConfig) -> model_dir.ModelInfo | None:
    """Train a model and write its model directory.

    Returns:
        The content of ``model.json``; None on workers other than the chief.

    Raises:
        UserError: the data, flags or output folder cannot be used; no model is written.
        CommandFailed: training diverged, or a metric is below ``--fail-under``.
    """
    start = time.monotonic()
    sides = find_sides(
        config.data,
        config.validation_data,
        config.test_data,
        config.drop,
        labeled=not config.keep_top,
        class_names=config.class_names,
    )
    if not config.keep_top:
        checks.check_sides(sides)
        if is_folder(config.data):
            checks.warn_of_sub_folders(sides.training)
        gates.check_gate_names(config.fail_under, sides.labels)
    finished = _finished(config, sides) if config.resume else None
    if finished:
        own = checkpoints.run_of(config.result_settings, sides.digest)
        checkpoints.remove_those_of(config.checkpoint_dir.rstrip("/"), own)
        say(f"model {finished.id} is already complete in {config.model_dir}: there is nothing to resume")
        return finished
    _check_output(config)
    if config.improvements and not config.resume:
        storage.check_new_folder(config.improvements, "--improvements")
    say("importing TensorFlow and building the network")
    from trainer.commands import train_job

    info = train_job.run(config, sides)
    if info is None:
        return None
    for sentence in verdict.sentences(info):
        say(sentence)
    say(f"model {info.id} written to {config.model_dir} after {time.monotonic() - start:.0f} s")
    return info


def _check_output(config: TrainConfig) -> None:
    """Raise UserError if an output folder must not be used, before any work is done."""
    path = config.model_dir.rstrip("/")
    for flag, place in (("--model-dir", path), ("--checkpoint-dir", config.checkpoint_dir)):
        for data in filter(None, (config.data, config.validation_data, config.test_data)):
            _refuse_inside(flag, place, data)
    storage.check(path)
    try:
        if storage.is_file(path):
            raise UserError(f"{path} is a file: give a folder as --model-dir")
        if _is_empty(path):
            return
        foreign = publishing.foreign_files(path)
    except StorageError as error:
        raise UserError(f"--model-dir {path} cannot be read: {error.message}") from error
    if foreign is None:
        raise UserError(f"{path} is neither empty nor an intact model directory: choose another --model-dir")
    if foreign:
        raise UserError(
            f"{path} contains files that are not part of its model, such as {foreign[0]!r}: choose another --model-dir"
        )
    if not config.overwrite:
        raise UserError(f"{path} contains a model: choose another --model-dir, or give --overwrite")


def _is_empty(folder: str) -> bool:
    """Return whether a folder is empty or does not exist."""
    if storage.is_remote(folder):
        return next(storage.list_files(folder), None) is None
    return not os.path.isdir(folder) or not os.listdir(folder)


def _refuse_inside(flag: str, place: str, data: str) -> None:
    if storage.is_remote(place) != storage.is_remote(data):
        return
    inner, outer = (path.rstrip("/") if storage.is_remote(path) else os.path.realpath(path) for path in (place, data))
    if f"{inner}/".startswith(f"{outer}/"):
        raise UserError(
            f"{flag} {place} is inside {data}, where its files would be read as photos: choose another folder"
        )


def _finished(config: TrainConfig, sides: Sides) -> model_dir.ModelInfo | None:
    """Return the model that this run has already written, for example if its machine was lost afterwards.

    Returns:
        The content of ``model.json``; None if the directory has no valid model, or has a model of another run that may
        be overwritten.

    Raises:
        UserError: the model belongs to another run and must not be replaced.
    """
    try:
        with model_dir.fetched(config.model_dir) as model:
            info = model.info
    except model_dir.ModelDirError:
        return None
    now = checkpoints.run_of(config.result_settings, sides.digest)
    then = checkpoints.run_of(
        {name: info.training.get(name) for name in config.result_settings}, info.data.get("photos", "")
    )
    other = checkpoints.differences(then, now)
    if not other and contents_digest(contents_of(sides.all, config.limits)) != info.data.get("contents"):
        other = ["photos have changed, but not their names"]
    if not other:
        return info
    if not config.overwrite:
        raise UserError(
            f"{config.model_dir} contains the model of another run ({'; '.join(other)}): choose another --model-dir, "
            "or give --overwrite"
        )
    say(f"starting over: the model in {config.model_dir} belongs to another run ({'; '.join(other)})")
    return None
