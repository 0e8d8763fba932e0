"""Trials of a sweep: their combinations of flags, order and ranking."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.commands.sweep_flags import Values, import_optuna, range_of, text_of, train_config
from trainer.config import TrainConfig
from trainer.networks import names

_FITTING_ONLY = {
    "dropout", "hidden_units", "freeze_batch_norm", "head_stage", "final_stage", "batch_size", "model_dir",
    "checkpoint_dir", "checkpoint_seconds", "resume", "log_dir", "improvements", "fail_under", "overwrite",
}  # fmt: skip
"""Fields of `TrainConfig` that do not affect the prepared photos."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Result of one training run of a sweep.

    Attributes:
        values: varied flags and their values.
        accuracy, loss: validation accuracy and loss in the best epoch; None if the trial failed.
        best_epoch: number of the best epoch, from 1; 0 if the trial failed.
        seconds: duration of the fitting, without the preparation that trials share.
        error: error message; empty if the trial succeeded.
        test_accuracy: accuracy on the test photos; None if there are none, or the trial failed.
        epochs: metrics of each epoch, see `trainer.fitting.loop.Fitted`.
    """

    values: Values
    accuracy: float | None
    loss: float | None
    best_epoch: int
    seconds: float
    error: str = ""
    test_accuracy: float | None = None
    epochs: Sequence[dict[str, float]] = ()


def rank(trial: Trial) -> tuple[float, float]:
    """Return the sort key of a trial: highest accuracy first, then lowest loss, failed trials last."""
    if trial.accuracy is None or trial.loss is None:
        return (math.inf, math.inf)
    return (-trial.accuracy, trial.loss)


def combined(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]]) -> Iterator[Values]:
    """Return the values of each trial to run, without duplicates, grouped by shared preparation.

    Raises:
        UserError: the flags contradict each other.
    """
    chosen: list[dict[str, str]] = [
        dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())
    ]
    if arguments.one_at_a_time:
        chosen = [{flag: value} for flag, values in varied.items() for value in values]
    configs: list[TrainConfig] = []
    distinct: list[dict[str, str]] = []
    by_preparation: dict[str, list[Values]] = {}
    for values in chosen:
        config = train_config(arguments, values)
        if config in configs:  # with --one-at-a-time, the values without --vary give the same trial for each flag
            distinct[configs.index(config)].update(values)
            continue
        configs.append(config)
        distinct.append(values)
        by_preparation.setdefault(json.dumps(preparation(config)), []).append(values)
    return itertools.chain.from_iterable(by_preparation.values())


def preparation(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that `trainer.fitting.training.prepare` depends on."""
    found = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FITTING_ONLY}
    found["with_features"] = config.head_stage is not None
    has_copies = config.augmentation and config.fine_tune != names.EVERYTHING
    if not has_copies:
        found.pop("copies"), found.pop("augmentation")
    if not has_copies and config.fine_tune == names.NOTHING:
        found.pop("seed")  # only the head depends on the seed, and each trial builds a new head
    return found


def sampled(
    arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]
) -> Iterator[Values]:
    """Yield the values of each trial that Optuna suggests.

    Args:
        arguments: parsed flags of ``sweep``.
        varied: flags and their values or range.
        trials: finished trials, to which the caller appends each trial before asking for the next one.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=arguments.seed))
    for _ in range(arguments.trials):
        asked = study.ask()
        values = {}
        for flag, given in varied.items():
            own = range_of(given[0])
            if own is None:
                values[flag] = asked.suggest_categorical(flag, list(given))
            elif own.whole:
                values[flag] = text_of(asked.suggest_int(flag, int(own.low), int(own.high), log=own.log), own)
            else:
                values[flag] = text_of(asked.suggest_float(flag, own.low, own.high, log=own.log), own)
        yield values
        accuracy = trials[-1].accuracy
        state = optuna.trial.TrialState.FAIL if accuracy is None else None
        study.tell(asked, accuracy, state=state)


def named(values: Values) -> str:
    """Format the values of a trial as text."""
    return "  ".join(f"{flag} {value}" for flag, value in values.items())
