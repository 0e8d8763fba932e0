"""Where a command's words and its logs go.

A command prints only its own words. The output of TensorFlow, Keras and Beam, warnings and tracebacks go to a log file,
also where C++ code or a worker process writes to file descriptor 2 directly; ``--verbose`` leaves all of it on the
terminal. The log file is deleted after a run that succeeded or that the user can fix (exit code 2).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, TextIO

from catalogue.cli.errors import CommandFailed
from catalogue.cli.masking import masked
from catalogue.cli.text import visible

_terminal: TextIO | None = None


def prepare_process() -> None:
    """Makes the process fit to run a command, whatever it was started with.

    Standard streams that are closed lead nowhere, and characters that they cannot show are replaced. A user without a
    home, as in some containers, gets that of temporary files: libraries would write into a folder called ``~``.
    """
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = tempfile.gettempdir()
    for descriptor, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def redirected(verbose: bool, log_file: str | None) -> Iterator[str | None]:
    """Sends standard error, Python's and that of C++, and logging to a file; `say` and progress keep the terminal."""
    global _terminal
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    if verbose and not log_file:
        handler = logging.StreamHandler()
        handler.setFormatter(_MaskingFormatter(logging.BASIC_FORMAT))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        yield None
        root.handlers = handlers
        root.setLevel(level)
        return
    log, path = _opened(log_file)
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(log, 2)
    _terminal = _lenient(saved, sys.stderr.encoding)
    try:
        with _lenient(log, "utf-8") as stream:
            handler = logging.StreamHandler(stream)
            handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
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


class _MaskingFormatter(logging.Formatter):
    """Formats records without the credentials of URIs, in tracebacks, too."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def _lenient(descriptor: int, encoding: str) -> TextIO:
    """A stream for remarks and logs: that they cannot be written is no reason to fail."""
    raw = io.BufferedWriter(_LenientFile(descriptor, "a"))
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)


class _LenientFile(io.FileIO):
    """A file on a disk that may be full, or a pipe whose reader may have gone."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _opened(log_file: str | None) -> tuple[int, str | None]:
    """The descriptor and the path of a log file; without a place for a temporary one what is logged is lost."""
    if log_file:
        return os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), log_file
    try:
        return tempfile.mkstemp(prefix="catalogue-classifier-", suffix=".log")
    except OSError:
        return os.open(os.devnull, os.O_WRONLY), None


def terminal() -> TextIO:
    """The stream for progress and remarks: the terminal's standard error, also while the logs are in a file."""
    return _terminal or sys.stderr


def say(text: str = "") -> None:
    """A remark to the person at the terminal, who may have gone. Results go to standard output with `print_line`."""
    with contextlib.suppress(OSError):
        print(_shown(masked(text)), file=terminal(), flush=True)


def print_line(text: str) -> None:
    """A line of a command's results, on standard output. If its reader has gone, as ``head`` does, it is dropped.

    Raises:
        CommandFailed: it cannot be written, as on a full disk.
    """
    try:
        print(_shown(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would fail at its end
    except OSError as error:
        raise CommandFailed(f"standard output cannot be written: {error.strerror}") from error


def _shown(text: str) -> str:
    """Names of files and labels may hold characters that would act on the terminal."""
    return "\n".join(map(visible, text.split("\n")))
