"""Runs a command, turns errors into one line and an exit code, and ends the process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from catalogue.cli.errors import CommandFailed, Fault, Interrupted, UserError
from catalogue.cli.logs import redirected, say
from catalogue.cli.temporary import temporary_folder
from catalogue.cli.text import one_line


def run(
    command: Callable[[], None],
    *,
    prog: str,
    verbose: bool = False,
    log_file: str | None = None,
    is_last: bool = False,
) -> int:
    """Run a command and return its exit code.

    Args:
        command: function to run.
        prog: name of the command, for messages.
        verbose: whether to show all logs on the terminal if there is no `log_file`.
        log_file: path of the log file; None for a temporary file, which is kept only after an unexpected error.
        is_last: whether the process ends with the command.

    Returns:
        0: success; 1: failure; 2: an error that the user can fix; 130, 143 or 129: interrupted by SIGINT (Ctrl-C),
        SIGTERM or SIGHUP, respectively.
    """
    kept = log_file
    try:
        with temporary_folder() as folder, redirected(verbose, log_file) as log, _interruptible(is_last):
            code, message, crashed = _call(command)
            if log and folder and not log_file and crashed:
                kept = _moved(log, os.path.dirname(folder))
    except OSError as error:
        place = f"--log-file {log_file}" if log_file else "a temporary log file"
        say(f"{prog}: error: {place} cannot be written: {error.strerror}")
        return 2
    if message:
        where = f" (details: {kept})" if kept and crashed else ""
        say(f"{prog}: error: {message}{where}")
    return code


def _moved(log: str, folder: str) -> str | None:
    """Move a log out of the temporary folder of the command and return its new path; None on failure."""
    target = os.path.join(folder, os.path.basename(log))
    try:
        os.rename(log, target)
    except OSError:
        return None
    return target


@contextlib.contextmanager
def _interruptible(is_last: bool) -> Iterator[None]:
    """Make SIGTERM and SIGHUP interrupt a command like Ctrl-C.

    After the first interrupt, both are ignored, so that the cleanup can finish. Ctrl-C still interrupts the cleanup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def interrupt(number: int, _: object) -> NoReturn:
        for other in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    for number, handler in handlers.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):  # not if ignored: nohup ignores SIGHUP
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if not is_last or signal.getsignal(number) is not signal.SIG_IGN:  # see `ignore_interrupts`
                signal.signal(number, handler)


def ignore_interrupts() -> None:
    """Ignore interrupts from now on: the work of the command is done, and its exit code must report that."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> NoReturn:
    """End the process with an exit code.

    Threads of a failed command, such as Beam's worker threads, may still be running. They are abandoned and their error
    output is discarded: a normal interpreter shutdown would wait for some threads, and kill others inside C++ code,
    which would abort the process.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader closed the pipe, or the disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if code == 0:
        sys.exit(0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    os._exit(code)


def _call(command: Callable[[], None]) -> tuple[int, str, bool]:
    """Run a command; return its exit code, a line for the terminal, and whether the log has details."""
    try:
        command()
    except UserError as error:
        return 2, one_line(str(error)), False
    except CommandFailed as error:
        return 1, one_line(str(error)), False
    except Interrupted as error:
        return 128 + error.signal, one_line(str(error)), False
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, "interrupted", False
    except Exception as error:
        logging.getLogger(__name__).exception("the command failed")
        name = "" if isinstance(error, Fault) else f"{type(error).__name__}: "
        return 1, one_line(f"{name}{error}"), True
    return 0, "", False
