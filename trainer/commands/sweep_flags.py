"""Command-line flags of ``sweep``, and the values that they vary."""

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
"""What a trial varies: flag without its dashes -> value as it would be typed."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `log` where their logarithms are drawn evenly, `whole` where they are integers."""

    low: float
    high: float
    log: bool
    whole: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``sweep``."""
    data_flags.add_arguments(parser.add_argument)
    add = parser.add_argument
    add(
        "--output",
        type=flags.path,
        required=True,
        metavar="DIR",
        help="where sweep.json, report.html and a page for each trial go",
    )
    add(
        "--vary",
        action="append",
        nargs="+",
        required=True,
        metavar=("FLAG", "VALUE"),
        help="a flag of train without its dashes and its values, as in --vary dropout 0 0.2 0.5, yes or no for a "
        "switch; LOW..HIGH, or LOW..HIGH:log, is a range, for --trials; repeatable",
    )
    add("--one-at-a-time", action="store_true", help="vary each flag alone instead of all combinations")
    add(
        "--trials",
        type=flags.positive_int,
        metavar="N",
        help="let Optuna (extra 'sweep') choose N combinations instead of trying all",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with an interrupted sweep in --output: the trials that ended are not made again",
    )
    add("--model-dir", type=flags.path, metavar="DIR", help="train the best once more and write its model here")
    options.add_method_arguments(parser)


def varied_flags(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Flag without dashes -> its values."""
    varied: dict[str, list[str]] = {}
    for name, *values in arguments.vary:
        flag = name.removeprefix("--")
        if not values or flag in varied:
            raise UserError(f"--vary {name}: " + ("give it once, with all values" if values else "give its values"))
        varied[flag] = values
    return varied


def check(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]]) -> None:
    """Refuses what cannot work before anything is read."""
    ranges = [flag for flag, values in varied.items() if any(range_of(value) for value in values)]
    if ranges and not arguments.trials:
        raise UserError(f"--vary {ranges[0]}: a range needs --trials")
    if arguments.trials and arguments.one_at_a_time:
        raise UserError("--trials and --one-at-a-time do not go together")
    for flag, values in varied.items():
        if len(values) > 1 and flag in ranges:
            raise UserError(f"--vary {flag}: give one range, or values")
        for value in values:
            own = range_of(value)
            for text in (text_of(own.low, own), text_of(own.high, own)) if own else (value,):
                train_config(arguments, {flag: text})
    if arguments.trials:
        import_optuna()
    if os.environ.get("TF_CONFIG"):
        raise UserError("a sweep runs on one machine: start it without TF_CONFIG")
    if not (arguments.resume and os.path.isfile(os.path.join(arguments.output, SWEEP_FILE))):
        storage.check_new_folder(arguments.output, "--output")
    if arguments.model_dir:
        storage.check_new_folder(arguments.model_dir, "--model-dir")


def train_config(arguments: argparse.Namespace, values: Values) -> TrainConfig:
    """The flags of ``train`` with some values in the place of what was given. Raises UserError."""
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
            raise UserError(f"--vary {flag.removeprefix('--')}: {text!r} is neither yes nor no")
        return text == "yes"
    try:
        value = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--vary {flag.removeprefix('--')}: {error}") from error
    if action.choices and value not in action.choices:
        raise UserError(f"--vary {flag.removeprefix('--')}: {text!r} is none of {', '.join(action.choices)}")
    return value


def range_of(text: str) -> Range | None:
    """``LOW..HIGH`` or ``LOW..HIGH:log``; None for anything else."""
    span, _, kind = text.partition(":")
    low, dots, high = span.partition("..")
    try:
        found = Range(float(low), float(high), kind == "log", "." not in low + high and "e" not in low + high)
    except ValueError:
        return None
    if not dots or kind not in ("", "log") or found.low >= found.high or (found.log and found.low <= 0):
        raise UserError(f"{text!r} is no range: give LOW..HIGH or LOW..HIGH:log, LOW below HIGH, above 0 for log")
    return found


def text_of(value: float, own: Range) -> str:
    """A number of a range as it would be typed."""
    return str(int(value)) if own.whole else repr(float(value))


def import_optuna() -> Any:
    """Optuna. Raises UserError if it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError("--trials needs Optuna: pip install -e '.[sweep]'") from None
    return optuna
