"""The argument parser of every command, argument types, and flags that several commands share."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import NoReturn

from catalogue.cli.errors import UserError
from catalogue.images.spec import DEFAULT_LIMITS, Limits
from catalogue.storage.paths import without_file_scheme


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.default is None or action.default is False
        return action.help if hidden else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser without abbreviations, whose errors are one line and name the nearest flag."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2 and one line."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def flags(self) -> list[str]:
        """Every ``--flag`` of this parser."""
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]


def path(text: str) -> str:
    """An argument type: a path, also as ``file://``. An unset shell variable gives an empty one, which is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return without_file_scheme(text)


def separator(text: str) -> str:
    """An argument type: text between other texts; ``\\t`` and ``\\n`` stand for a tab and the end of a line."""
    if not text:
        raise argparse.ArgumentTypeError("the separator is empty")
    return text.replace("\\t", "\t").replace("\\n", "\n")


def positive_int(text: str) -> int:
    """An argument type: a whole number above zero."""
    return int(_number(text, int, lambda value: 0 < value < 2**31, "a whole number above zero"))


def non_negative_int(text: str) -> int:
    """An argument type: a whole number of at least 0."""
    return int(_number(text, int, lambda value: 0 <= value < 2**31, "a whole number of at least 0"))


def positive_ints(text: str) -> tuple[int, ...]:
    """An argument type: whole numbers above zero with commas between them; 0 for none."""
    return () if text == "0" else tuple(positive_int(part) for part in text.split(","))


def non_negative_float(text: str) -> float:
    """An argument type: a number of at least 0, not infinite."""
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a number of at least 0")


def positive_float(text: str) -> float:
    """An argument type: a number above zero, not infinite."""
    return _number(text, float, lambda value: 0 < value < float("inf"), "a number above zero")


def rate(text: str) -> float:
    """An argument type: a number between 0 and 1, both included."""
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def fraction(text: str) -> float:
    """An argument type: a number from 0 to below 1."""
    return _number(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def share(text: str) -> float:
    """An argument type: a number between 0 and 1, neither included."""
    return _number(text, float, lambda value: 0 < value < 1, "a number between 0 and 1")


def seed(text: str) -> int:
    """An argument type: what NumPy and Keras take for a seed."""
    return int(_number(text, int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295"))


def _number(text: str, kind: type[int | float], holds: Callable[[float], bool], what: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def refuse_unknown(unknown: Sequence[str], known: Sequence[str]) -> None:
    """Raises UserError if `unknown` is not empty, naming the flag of `known` that looks most like its first one."""
    if unknown:
        flag = unknown[0].split("=")[0]
        nearest = difflib.get_close_matches(flag, known, n=1)
        raise UserError(f"unknown argument {flag}" + (f"; did you mean {nearest[0]}?" if nearest else ""))


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which images are too large; `limits` reads them."""
    add = parser.add_argument_group("limits of an image").add_argument
    add("--max-bytes", type=positive_int, default=DEFAULT_LIMITS.max_bytes, metavar="N", help="refuse larger files")
    add(
        "--max-pixels",
        type=positive_int,
        default=DEFAULT_LIMITS.max_pixels,
        metavar="N",
        help="refuse pictures with more",
    )


def limits(arguments: argparse.Namespace) -> Limits:
    """What the flags of `add_limit_arguments` say."""
    return Limits(max_bytes=arguments.max_bytes, max_pixels=arguments.max_pixels)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where a command's chatter goes."""
    group = parser.add_argument_group("logging")
    group.add_argument("--verbose", action="store_true", help="show the logs of TensorFlow, Keras and Beam")
    group.add_argument("--log-file", metavar="FILE", help="keep those logs here (default: a temporary file)")
