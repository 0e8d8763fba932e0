"""``sweep.json``: the settings and finished trials of a sweep, from which ``--resume`` continues."""

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
    """Return the identity of a sweep. Only a sweep with the same identity can reuse its trials.

    Args:
        arguments: parsed flags of ``sweep``.
        varied: flags and their values.
        photos: digest of the photos, see `trainer.data.sides.Sides.digest`.
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
    """Write ``sweep.json``.

    Args:
        arguments: parsed flags of ``sweep``.
        own: identity of the sweep, see `identity`.
        contents: digest of the photos' contents, see `trainer.data.identity.contents_digest`.
        trials: finished trials.
        seconds: duration of the sweep so far.
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
    """Return the trials of an earlier sweep and its duration in seconds; no trials and 0 if there is no file.

    Args:
        folder: output folder of the sweep.
        own: identity of the current sweep, see `identity`.
        contents: function that returns the digest of the photos' current contents.

    Raises:
        UserError: the file belongs to another sweep, or cannot be read.
    """
    path = f"{folder}/{SWEEP_FILE}"
    if not storage.is_file(path):
        return [], 0.0
    try:
        found = json.loads(storage.read_text(path))
        trials = [Trial(**trial) for trial in found["trials"]]
        other = differences({name: found[name] for name in own}, dict(own))
        if not other and found["contents"] != contents():
            other = ["photos have changed, but not their names"]
    except (StorageError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}: fix it, or choose another --output") from error
    if other:
        raise UserError(f"{path} belongs to another sweep ({'; '.join(other)}): choose another --output")
    return trials, found["seconds"]
