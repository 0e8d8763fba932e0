"""Argument parser used by all commands, types of arguments, and flags shared by several commands."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from catalogue.cli.errors import UserError
from catalogue.images.spec import DEFAULT_LIMITS, Limits
from catalogue.storage.paths import without_file_scheme

_FLAG_COLUMNS, _WIDE = 32, 100  # width of the flag column in the help, and the minimum width of the help for it


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Formats each flag on one line if it fits, and appends defaults other than None and False."""

    def __init__(self, prog: str) -> None:
        width = min(120, shutil.get_terminal_size().columns) - 2
        super().__init__(prog, max_help_position=_FLAG_COLUMNS if width >= _WIDE else 24, width=width)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.default is None or action.default is False or "(default:" in (action.help or "")
        return action.help if hidden else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser that does not accept abbreviated flags.

    The help has a short usage line and ends with an example. Errors are one line.

    Args:
        example: a working command line for the help and the reference.
    """

    def __init__(self, *, example: str = "", **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **options)  # type: ignore[arg-type]
        self.example = example
        self._given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments as `argparse` does, and keep them for error messages."""
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """Return the help, with a usage line that lists only the required flags."""
        self.usage = self._short_usage()
        return super().format_help() + (f"\nexample: {self.example}\n" if self.example else "")

    def _short_usage(self) -> str | None:
        if self._subparsers:
            return None
        needed = [action for action in self._actions if action.required]
        values = [a.metavar if isinstance(a.metavar, tuple) else (a.metavar or a.dest.upper(),) for a in needed]
        words = [word for a, own in zip(needed, values, strict=True) for word in (*a.option_strings[:1], *own)]
        return " ".join(["%(prog)s", *words, "[options]"])

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and a one-line message.

        If a required flag is missing, it may be misspelled: the message suggests corrections for unknown flags.
        """
        if "arguments are required" in message:
            named = (word.split("=")[0] for word in self._given if word.startswith("--"))
            for flag in (flag for flag in named if flag not in self.flags()):
                nearest = difflib.get_close_matches(flag, self.flags(), n=1)
                message += f"; did you mean {nearest[0]} instead of {flag}?" if nearest else ""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def flags(self) -> list[str]:
        """Return every ``--flag`` of this parser."""
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]


def path(text: str) -> str:
    """Parse a path or URI; a ``file:`` URI becomes a path. Reject an empty path, as from an unset shell variable."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    try:
        return without_file_scheme(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from error


def separator(text: str) -> str:
    """Parse a separator; ``\\t`` and ``\\n`` stand for a tab and a newline."""
    if not text:
        raise argparse.ArgumentTypeError("the separator is empty")
    return text.replace("\\t", "\t").replace("\\n", "\n")


def positive_int(text: str) -> int:
    """Parse an integer from 1 to 2³¹ - 1."""
    return int(_number(text, int, lambda value: 0 < value < 2**31, "an integer from 1 to 2147483647"))


def non_negative_int(text: str) -> int:
    """Parse an integer from 0 to 2³¹ - 1."""
    return int(_number(text, int, lambda value: 0 <= value < 2**31, "an integer from 0 to 2147483647"))


def positive_ints(text: str) -> tuple[int, ...]:
    """Parse comma-separated integers of at least 1; return an empty tuple for a single 0."""
    return () if text == "0" else tuple(positive_int(part) for part in text.split(","))


def non_negative_float(text: str) -> float:
    """Parse a finite number of at least 0."""
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a finite number of at least 0")


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    return _number(text, float, lambda value: 0 < value < float("inf"), "a finite number above 0")


def rate(text: str) -> float:
    """Parse a number from 0 to 1, both included."""
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def fraction(text: str) -> float:
    """Parse a number of at least 0 and below 1."""
    return _number(text, float, lambda value: 0 <= value < 1, "a number of at least 0 and below 1")


def share(text: str) -> float:
    """Parse a number between 0 and 1, neither included."""
    return _number(text, float, lambda value: 0 < value < 1, "a number above 0 and below 1")


def seed(text: str) -> int:
    """Parse a random seed in the range that NumPy and Keras accept."""
    return int(_number(text, int, lambda value: 0 <= value < 2**32, "an integer from 0 to 4294967295"))


def _number(text: str, kind: type[int | float], holds: Callable[[float], bool], what: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def refuse_unknown(unknown: Sequence[str], known: Sequence[str]) -> None:
    """Raise UserError if `unknown` is not empty, and suggest the flag of `known` closest to its first item."""
    if unknown:
        flag = unknown[0].split("=")[0]
        nearest = difflib.get_close_matches(flag, known, n=1)
        raise UserError(f"unknown argument {flag}" + (f"; did you mean {nearest[0]}?" if nearest else ""))


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the image limits, which `limits` reads."""
    add = parser.add_argument_group("image limits").add_argument
    add(
        "--max-bytes",
        type=positive_int,
        default=DEFAULT_LIMITS.max_bytes,
        metavar="N",
        help="maximum size of an image file in bytes",
    )
    add(
        "--max-pixels",
        type=positive_int,
        default=DEFAULT_LIMITS.max_pixels,
        metavar="N",
        help="maximum number of pixels of an image",
    )


def limits(arguments: argparse.Namespace) -> Limits:
    """Return the limits set by the flags of `add_limit_arguments`."""
    return Limits(max_bytes=arguments.max_bytes, max_pixels=arguments.max_pixels)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags for log output."""
    group = parser.add_argument_group("logging")
    group.add_argument(
        "--verbose", action="store_true", help="show the logs of TensorFlow, Keras and Beam (no effect with --log-file)"
    )
    group.add_argument(
        "--log-file",
        metavar="FILE",
        help="write the logs of TensorFlow, Keras and Beam to a file (default: a temporary file)",
    )
