"""What every command of both packages does alike: parse, speak, and fail in one line.

A command prints only its own words. The chatter of TensorFlow, Keras and Beam, warnings and tracebacks go to a log
file, also where C++ code or a worker process writes to file descriptor 2 directly; ``--verbose`` leaves all of it on
the terminal. The log file is deleted after a run that ended well or that the user can mend (exit code 2).
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import difflib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, TextIO

from catalogue.images.reader import DEFAULT_LIMITS, Limits

_terminal: TextIO | None = None
_BAR = 20
_REDRAWN, _FIRST_LINE, _NEXT_LINE = 0.2, 2.0, 10.0  # seconds


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong and what to do. Exit code 2."""


class CommandFailed(Exception):
    """A command ran and its result is not good: one line that says why. Exit code 1, no traceback."""


class Fault(Exception):
    """Something broke that nobody foresaw; what is known in one line, the rest in the log. Exit code 1."""


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
    """An argument type: a path. An unset shell variable gives an empty one, which would mean the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return text


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


def counted(count: int, noun: str) -> str:
    """A number of things in words: ``1 dead letter``, ``2,000 dead letters``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those packages that are installed."""
    from importlib import metadata

    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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


def run(command: Callable[[], None], *, prog: str, verbose: bool = False, log_file: str | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 failed, 2 the user can put it right, 130 interrupted."""
    try:
        with _quiet(verbose, log_file) as log:
            code, message, crashed = _call(command)
    except OSError as error:
        print(f"{prog}: error: cannot write the log file {log_file}: {error.strerror}", file=sys.stderr)
        return 2
    if log and not log_file and not crashed:
        os.unlink(log)
    if message:
        where = f" (details: {log})" if log and crashed else ""
        print(f"{prog}: error: {message}{where}", file=sys.stderr)
    return code


def leave(code: int) -> NoReturn:
    """Ends the process.

    Threads of a command that failed may still be at work, as those of Beam's workers. They are left where they are and
    no longer heard: Python's own way out would wait for some of them, and end others, within C++ code, in a way that
    aborts the process.
    """
    if code == 0:
        sys.exit(0)
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    os._exit(code)


def _call(command: Callable[[], None]) -> tuple[int, str, bool]:
    """Returns the exit code, a line for the terminal, and whether the log has more to say."""
    try:
        command()
    except UserError as error:
        return 2, one_line(str(error)), False
    except CommandFailed as error:
        return 1, one_line(str(error)), False
    except KeyboardInterrupt:
        return 130, "interrupted", False
    except Exception as error:
        logging.getLogger(__name__).exception("the command failed")
        name = "" if isinstance(error, Fault) else f"{type(error).__name__}: "
        return 1, one_line(f"{name}{error}"), True
    return 0, "", False


@contextlib.contextmanager
def _quiet(verbose: bool, log_file: str | None) -> Iterator[str | None]:
    """Sends standard error, Python's and that of C++, and logging to a file; `say` and progress keep the terminal."""
    global _terminal
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    if verbose and not log_file:
        logging.basicConfig()
        root.setLevel(logging.INFO)
        yield None
        root.setLevel(level)
        return
    if log_file:
        log, path = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), log_file
    else:
        log, path = tempfile.mkstemp(prefix="catalogue-classifier-", suffix=".log")
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(log, 2)
    _terminal = os.fdopen(saved, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    try:
        with os.fdopen(log, "a", buffering=1, encoding="utf-8", errors="backslashreplace") as stream:
            handler = logging.StreamHandler(stream)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
            root.handlers = [handler]
            root.setLevel(logging.INFO)
            with contextlib.redirect_stderr(stream):
                yield path
            root.handlers = handlers
    finally:
        root.setLevel(level)
        os.dup2(saved, 2)
        _terminal.close()
        _terminal = None


def one_line(text: str, limit: int = 500) -> str:
    """`text` with its line breaks and runs of spaces folded, cut at `limit` characters."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def terminal() -> TextIO:
    """The stream for progress and remarks: the terminal's standard error, also while the logs are in a file."""
    return _terminal or sys.stderr


def say(text: str = "") -> None:
    """A remark to the person at the terminal. Results go to standard output with `print`."""
    print(text, file=terminal(), flush=True)


class Progress:
    """How far a long step is: one line that is redrawn on a terminal; elsewhere a line after two seconds and every ten.

    Args:
        title: what is being done, such as ``"reading photos"``.
        total: how many steps there are; None where nobody knows.
        unit: what one step is, for the rate: ``"photos"``.
        done: how many of them an earlier run has done.
    """

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done, self._before, self._note = done, done, ""
        self._start = self._shown = time.monotonic()
        self._redraws = terminal().isatty()
        self._last_text = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._show(final=True)

    def expect(self, total: int | None) -> None:
        """Says how many steps there are, where that comes to be known, or grows, on the way."""
        self._total = total

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts `steps` more as done; `note` stands at the end of the line."""
        self._done += steps
        self._note = note
        pause = _REDRAWN if self._redraws else _NEXT_LINE if self._last_text else _FIRST_LINE
        if time.monotonic() - self._shown >= pause:
            self._show(final=False)

    def close(self) -> None:
        """Leaves it as it was shown last, where nobody knows how far it came in the end."""
        if self._last_text and self._redraws:
            print(file=terminal(), flush=True)

    def milestone(self, note: str) -> None:
        """Says at once how far it is, unless that was said within the last second."""
        self._note = note
        if time.monotonic() - self._shown >= (0.0 if self._redraws else 1.0):
            self._show(final=False)

    def _show(self, *, final: bool) -> None:
        self._shown = time.monotonic()
        text = self._text(final)
        if self._redraws:
            columns = os.get_terminal_size(terminal().fileno()).columns or 80
            if len(text) >= columns and not final:  # a line that wraps cannot be redrawn
                text = self._text(final, short=True)[: columns - 1]
            padding = " " * max(0, len(self._last_text) - len(text))
            print(f"\r{text}{padding}", end="\n" if final else "", file=terminal(), flush=True)
        else:
            say(text)
        self._last_text = text

    def _text(self, final: bool, *, short: bool = False) -> str:
        seconds = max(self._shown - self._start, 1e-6)
        rate = (self._done - self._before) / seconds
        if short and self._total:
            parts = [f"{self._title} {self._done / self._total:.0%}"]
        else:
            of = f" of {self._total:,}" if self._total else ""
            parts = [f"{self._title}: {self._done:,}{of} {self._unit}"]
            if self._redraws and self._total:
                filled = min(self._done * _BAR // self._total, _BAR)
                parts.append("█" * filled + "░" * (_BAR - filled))
            parts.append(f"{rate:,.1f}/s")
        if final or not self._total or not rate:
            parts.append(f"{seconds:.0f} s")
        else:
            parts.append(f"{max(self._total - self._done, 0) / rate:.0f} s left")
        return "  ".join(parts + ([self._note] if self._note else []))
