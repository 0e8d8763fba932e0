"""The trials of a sweep: which combinations are made, in which order, and how they are ranked."""

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
"""What of a `TrainConfig` does not change what is prepared."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        values: what it varied.
        accuracy, loss: on validation, in the best epoch; None if it failed.
        best_epoch: counted from one.
        seconds: it took, without what it shared with others.
        error: why it failed.
        test_accuracy: on the photos to test on; None if there are none, or it failed.
        epochs: see `trainer.fitting.loop.Fitted`.
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
    """The best first: the highest accuracy, then the least loss; what failed last."""
    if trial.accuracy is None or trial.loss is None:
        return (math.inf, math.inf)
    return (-trial.accuracy, trial.loss)


def combined(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]]) -> Iterator[Values]:
    """The values of each trial that is to be made, those that are prepared alike one after the other.

    Raises:
        UserError: they contradict each other.
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
        if config in configs:  # one at a time, the values that are given anyway come up for each flag
            distinct[configs.index(config)].update(values)
            continue
        configs.append(config)
        distinct.append(values)
        by_preparation.setdefault(json.dumps(preparation(config)), []).append(values)
    return itertools.chain.from_iterable(by_preparation.values())


def preparation(config: TrainConfig) -> dict[str, Any]:
    """What `trainer.fitting.training.prepare` depends on."""
    found = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FITTING_ONLY}
    found["with_features"] = config.head_stage is not None
    has_copies = config.augmentation and config.fine_tune != names.EVERYTHING
    if not has_copies:
        found.pop("copies"), found.pop("augmentation")
    if not has_copies and config.fine_tune == names.NOTHING:
        found.pop("seed")  # only the head depends on it, which each trial builds anew
    return found


def sampled(
    arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]
) -> Iterator[Values]:
    """The values of one trial after the other; `trials` are those that have been made by then."""
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
    """The values of a trial in words."""
    return "  ".join(f"{flag} {value}" for flag, value in values.items())
