"""Command-line flags of ``sweep``, and the values of ``--vary``."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from catalogue import storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from trainer.commands import data_flags
from trainer.commands import train_flags as options
from trainer.config import TrainConfig

SWEEP_FILE = "sweep.json"
Values = Mapping[str, str]
"""Varied flags of a trial: flag without its dashes -> value as typed on the command line."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Range from `low` to `high`, sampled log-uniformly if `log`, else uniformly; integers if `whole`."""

    low: float
    high: float
    log: bool
    whole: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``sweep``."""
    data_flags.add_arguments(parser.add_argument_group("photos").add_argument)
    add = parser.add_argument_group("sweep").add_argument
    add(
        "--output",
        type=flags.path,
        required=True,
        metavar="DIR",
        help="folder for sweep.json, report.html and a page for each trial",
    )
    add(
        "--vary",
        action="append",
        nargs="+",
        required=True,
        metavar=("FLAG", "VALUE"),
        help="flag of train, without its dashes, and its values, as in --vary dropout 0 0.2 0.5; yes or no for a "
        "switch; LOW..HIGH or LOW..HIGH:log for a range, with --trials; repeatable",
    )
    add("--one-at-a-time", action="store_true", help="vary each flag alone instead of all combinations")
    add(
        "--trials",
        type=flags.positive_int,
        metavar="N",
        help="let Optuna (extra 'sweep') choose N combinations instead of trying all of them",
    )
    add(
        "--resume",
        action="store_true",
        help="resume an interrupted sweep in --output, keeping its finished trials",
    )
    add(
        "--model-dir",
        type=flags.path,
        metavar="DIR",
        help="train the best combination again and write its model directory here",
    )
    options.add_method_arguments(parser)


def varied_flags(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the varied flags: flag without its dashes -> its values. Raises UserError."""
    varied: dict[str, list[str]] = {}
    for name, *values in arguments.vary:
        flag = name.removeprefix("--")
        if not values or flag in varied:
            raise UserError(f"--vary {name}: " + ("give it once, with all values" if values else "give its values"))
        varied[flag] = values
    return varied


def check(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if flags or values are invalid, before any photo is read."""
    ranges = [flag for flag, values in varied.items() if any(range_of(value) for value in values)]
    if ranges and not arguments.trials:
        raise UserError(f"--vary {ranges[0]}: a range needs --trials: add it, or list values")
    if arguments.trials and arguments.one_at_a_time:
        raise UserError("--trials and --one-at-a-time cannot be combined: give only one of them")
    for flag, values in varied.items():
        if len(values) > 1 and flag in ranges:
            raise UserError(f"--vary {flag}: give one range or a list of values")
        for value in values:
            own = range_of(value)
            for text in (text_of(own.low, own), text_of(own.high, own)) if own else (value,):
                train_config(arguments, {flag: text})
    if arguments.trials:
        import_optuna()
    if os.environ.get("TF_CONFIG"):
        raise UserError("a sweep runs on one machine only: unset TF_CONFIG")
    has_sweep = os.path.isfile(os.path.join(arguments.output, SWEEP_FILE))
    if has_sweep and not arguments.resume:
        raise UserError(
            f"--output {arguments.output} has a sweep: give --resume to continue it, or choose a new folder"
        )
    if not has_sweep:
        storage.check_new_folder(arguments.output, "--output")
    if arguments.model_dir:
        storage.check_new_folder(arguments.model_dir, "--model-dir")


def train_config(arguments: argparse.Namespace, values: Values) -> TrainConfig:
    """Return the ``train`` settings with some flags replaced by the given values. Raises UserError."""
    parser = flags.Parser()
    options.add_method_arguments(parser)
    actions = {action.option_strings[0].removeprefix("--"): action for action in parser._actions}
    made = copy.copy(arguments)
    for flag, text in values.items():
        action = actions.get(flag)
        if action is None or flag == "-h":
            flags.refuse_unknown([f"--{flag}"], [f"--{name}" for name in actions])
        else:
            setattr(made, action.dest, _parsed(action, text))
    given = {"model_dir": arguments.model_dir or "", "checkpoint_dir": None, "checkpoint_seconds": 30.0}
    given |= {
        "head": options.HEAD_CHOICES[0],
        "resume": False,
        "log_dir": None,
        "improvements": None,
        "fail_under": None,
        "overwrite": False,
    }
    return options.config_from(argparse.Namespace(**{**vars(made), **given}))


def _parsed(action: argparse.Action, text: str) -> Any:
    flag = action.option_strings[0]
    if action.nargs == 0:  # a switch
        if text not in ("yes", "no"):
            raise UserError(f"--vary {flag.removeprefix('--')}: {text!r} is neither yes nor no: give one of them")
        return text == "yes"
    try:
        value = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--vary {flag.removeprefix('--')}: {error}") from error
    if action.choices and value not in action.choices:
        raise UserError(f"--vary {flag.removeprefix('--')}: {text!r} is not one of {', '.join(action.choices)}")
    return value


def range_of(text: str) -> Range | None:
    """Parse ``LOW..HIGH`` or ``LOW..HIGH:log``; return None for other text. Raises UserError for an invalid range."""
    span, _, kind = text.partition(":")
    low, dots, high = span.partition("..")
    try:
        found = Range(float(low), float(high), kind == "log", "." not in low + high and "e" not in low + high)
    except ValueError:
        return None
    if not dots or kind not in ("", "log") or found.low >= found.high or (found.log and found.low <= 0):
        raise UserError(
            f"{text!r} is not a range: give LOW..HIGH or LOW..HIGH:log with LOW < HIGH, and LOW > 0 for log"
        )
    return found


def text_of(value: float, own: Range) -> str:
    """Format a number of a range as it would be typed on the command line."""
    return str(int(value)) if own.whole else repr(float(value))


def import_optuna() -> Any:
    """Return the Optuna module. Raises UserError if it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError("--trials needs Optuna: install it with pip install -e '.[sweep]'") from None
    return optuna
