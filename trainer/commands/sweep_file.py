"""``sweep.json``: a sweep and the trials that have ended, also for a later command that goes on with it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.reasons import StorageError
from trainer.commands.sweep_flags import SWEEP_FILE, train_config
from trainer.commands.sweep_trials import Trial, rank
from trainer.fitting.checkpoints import differences


def identity(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], photos: str) -> dict[str, Any]:
    """Identifies a sweep: one that agrees in it may go on with another's trials.

    Args:
        arguments: of the command.
        varied: flags and their values.
        photos: see `trainer.data.sides.Sides.digest`.
    """
    return {
        "options": train_config(arguments, {}).result_settings,
        "varied": {flag: list(values) for flag, values in varied.items()},
        "chosen_by": "optuna" if arguments.trials else "one at a time" if arguments.one_at_a_time else "combination",
        "photos": photos,
    }


def write(
    arguments: argparse.Namespace, own: Mapping[str, Any], contents: str, trials: Sequence[Trial], seconds: float
) -> None:
    """Writes the file.

    Args:
        arguments: of the command.
        own: what `identity` gave.
        contents: see `trainer.data.identity.contents_digest`.
        trials: those that have ended.
        seconds: that they took.
    """
    best = min(trials, key=rank)
    content = {
        "data": arguments.data,
        "validation_data": arguments.validation_data,
        **own,
        "contents": contents,
        "trials": [dataclasses.asdict(trial) for trial in trials],
        "best": None if best.accuracy is None else dict(best.values),
        "seconds": round(seconds, 1),
    }
    storage.write_text(f"{arguments.output}/{SWEEP_FILE}", json.dumps(content, indent=1))


def earlier(folder: str, own: Mapping[str, Any], contents: Callable[[], str]) -> tuple[list[Trial], float]:
    """The trials of an interrupted sweep, and the seconds that they took; none if there is no such sweep.

    Args:
        folder: of its file.
        own: what `identity` gave.
        contents: a function that gives the digest of the contents of the photos, as they are now.

    Raises:
        UserError: it is another sweep.
    """
    path = f"{folder}/{SWEEP_FILE}"
    if not storage.is_file(path):
        return [], 0.0
    try:
        found = json.loads(storage.read_text(path))
        trials = [Trial(**trial) for trial in found["trials"]]
        other = differences({name: found[name] for name in own}, dict(own))
        if not other and found["contents"] != contents():
            other = ["photos were changed since, under the same names"]
    except (StorageError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"--resume: {path} cannot be read: {error}") from error
    if other:
        raise UserError(f"{path} is of another sweep ({'; '.join(other)}): choose another --output")
    return trials, found["seconds"]
