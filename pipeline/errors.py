"""Errors of a run, and their extraction from the exceptions that Beam's runners raise."""

from __future__ import annotations

import re

from catalogue.cli.errors import CommandFailed, Fault, UserError

_CANNOT_START = r"java\.io\.IOException: error=(2|13), [\w ]*"  # Java's messages for ENOENT and EACCES


class StoppedEarlyError(CommandFailed):
    """A run was stopped because it could no longer succeed."""


class JobFailedError(Exception):
    """A remote job has failed or was canceled."""


class JobGoesOnError(Exception):
    """The command ends, but its remote job is, or may be, still running. The job's files must be kept.

    Args:
        message: one-line message for the terminal.
        signal: number of the signal that ended the command; None for any other cause.
    """

    def __init__(self, message: str, signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


class JobWrittenError(JobGoesOnError):
    """The command has succeeded: it has written the job to a file for an engine to run."""


def of_command(error: Exception) -> Exception:
    """Convert the exception that a job failed with into an error of the command."""
    if isinstance(error, CommandFailed):
        return error
    kind, message = cause(error)
    missing = re.search(_CANNOT_START, message)
    if missing:
        return UserError(
            "the engine cannot start its workers: the program that starts them is missing on the engine's machines or "
            "is not executable; for PROCESS install the command in --environment_config, for DOCKER install docker "
            f"({missing[0].partition(': ')[2]})"
        )
    if kind in ("ModelDirError", UserError.__name__):
        return UserError(message)
    if kind == StoppedEarlyError.__name__:
        return StoppedEarlyError(message)
    known = kind in (JobFailedError.__name__, Fault.__name__)
    return Fault(f"the run failed: {message if known else f'{kind}: {message}'}")


def cause(error: Exception) -> tuple[str, str]:
    """Return the name and the message of the error that a run failed with.

    Runners pass on a worker's exception as text, some of them within a longer text. If the worker is the thread that
    runs the job, the exception is passed on unchanged.

    Returns:
        The class name without its module, and the message. They are taken from the last traceback in the text of
        `error`, if there is one.
    """
    text = str(error)
    found = re.findall(r"^((?:\w+\.)*\w*(?:Error|Exception|Failed)): (.*)$", text, flags=re.MULTILINE)
    name, message = found[-1] if found else (type(error).__name__, text)
    return name.rpartition(".")[2], re.sub(r" \[while running '.*'\]$", "", message)
