"""Terminal output and log redirection of commands.

A command prints only its own messages. Warnings, tracebacks and the output of TensorFlow, Keras and Beam go to a log
file, even if C++ code or a worker process writes directly to file descriptor 2. With ``--verbose`` and without
``--log-file``, they stay on the terminal. A temporary log file is kept only after an unexpected error.
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
    """Prepare the process to run a command in any environment.

    Closed standard streams are redirected to the null device, and characters that cannot be encoded are replaced. For a
    user without a home directory, as in some containers, HOME is set to the temporary directory: otherwise libraries
    would write into a folder called ``~``.
    """
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = tempfile.gettempdir()
    for descriptor, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def redirected(verbose: bool, log_file: str | None) -> Iterator[str | None]:
    """Redirect logs and standard error, including the output of C++ code, from the terminal to a log file.

    `say` and progress stay on the terminal. If `verbose` is set and `log_file` is None, logs go to standard error.

    Yields:
        The path of the log file; None if there is no log file.
    """
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
    """Log formatter that masks the credentials in URIs, even in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def _lenient(descriptor: int, encoding: str) -> TextIO:
    """Return a stream for messages and logs that ignores write errors."""
    raw = io.BufferedWriter(_LenientFile(descriptor, "a"))
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)


class _LenientFile(io.FileIO):
    """File that ignores write errors, such as those caused by a full disk or a closed pipe."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _opened(log_file: str | None) -> tuple[int, str | None]:
    """Open a log file, or a temporary one if `log_file` is None, and return its descriptor and path.

    If no temporary file can be created, logs are discarded and the path is None.
    """
    if log_file:
        return os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), log_file
    try:
        return tempfile.mkstemp(prefix="catalogue-classifier-", suffix=".log")
    except OSError:
        return os.open(os.devnull, os.O_WRONLY), None


def terminal() -> TextIO:
    """Return the stream for progress and messages: the original standard error, even while logs go to a file."""
    return _terminal or sys.stderr


def say(text: str = "") -> None:
    """Print a message to the terminal, which may be closed. Results go to standard output with `print_line`."""
    with contextlib.suppress(OSError):
        print(_shown(masked(text)), file=terminal(), flush=True)


def print_line(text: str) -> None:
    """Print a line of results to standard output; drop it if the reader, such as ``head``, has closed the pipe.

    Raises:
        CommandFailed: the line cannot be written, for example because the disk is full.
    """
    try:
        print(_shown(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise the flush at interpreter exit would fail
    except OSError as error:
        raise CommandFailed(f"cannot write to standard output ({error.strerror}): redirect it elsewhere") from error


def _shown(text: str) -> str:
    """Escape the control characters of file names and labels, which could affect the terminal."""
    return "\n".join(map(visible, text.split("\n")))
