"""Where a command's words and its logs go.

A command prints only its own words. The output of TensorFlow, Keras and Beam, warnings and tracebacks go to a log file,
also where C++ code or a worker process writes to file descriptor 2 directly; ``--verbose`` leaves all of it on the
terminal. The log file is deleted after a run that succeeded or that the user can fix (exit code 2).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

_terminal: TextIO | None = None


@contextlib.contextmanager
def redirected(verbose: bool, log_file: str | None) -> Iterator[str | None]:
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


def terminal() -> TextIO:
    """The stream for progress and remarks: the terminal's standard error, also while the logs are in a file."""
    return _terminal or sys.stderr


def say(text: str = "") -> None:
    """A remark to the person at the terminal. Results go to standard output with `print`."""
    print(text, file=terminal(), flush=True)
