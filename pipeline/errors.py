"""The errors that a run ends with, and what can be learnt from those of a runner."""

from __future__ import annotations

import re

from catalogue.cli.errors import CommandFailed, Fault, UserError

_CANNOT_START = (
    r"java\.io\.IOException: error=(2|13), [\w ]*"  # ENOENT and EACCES, as Java tells them, without the program
)


class StoppedEarlyError(CommandFailed):
    """A run that could not succeed any more was stopped."""


class JobFailedError(Exception):
    """A job of a runner of many machines has ended, and not well."""


class JobGoesOnError(Exception):
    """The command ends, and its job, which runs elsewhere, does not, or may not. Its files must stay.

    Args:
        message: one line for the terminal.
        signal: the number of the signal that ended the command; None if something else did.
    """

    def __init__(self, message: str, signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


class JobWrittenError(JobGoesOnError):
    """The command ends as it should: it has written the job to a file, and an engine is to run it."""


def of_command(error: Exception) -> Exception:
    """The error of the command for one that a job failed by."""
    if isinstance(error, CommandFailed):
        return error
    kind, message = cause(error)
    missing = re.search(_CANNOT_START, message)
    if missing:
        return UserError(
            "the engine cannot start its workers: on its machines the program that starts them is missing, or cannot "
            "be executed; it is the one of --environment_config with PROCESS, and docker with DOCKER "
            f"({missing[0].partition(': ')[2]})"
        )
    if kind in ("ModelDirError", UserError.__name__):
        return UserError(message)
    if kind == StoppedEarlyError.__name__:
        return StoppedEarlyError(message)
    known = kind in (JobFailedError.__name__, Fault.__name__)
    return Fault(f"the run failed: {message if known else f'{kind}: {message}'}")


def cause(error: Exception) -> tuple[str, str]:
    """The name and the message of the error that a run failed by.

    Runners pass a worker's exception on as text, some with more text around it, or as it is where the worker is the
    very thread that runs the job.

    Returns:
        The class without its module, and the message; of the traceback that ends the text of `error`, if there is one.
    """
    text = str(error)
    found = re.findall(r"^((?:\w+\.)*\w*(?:Error|Exception|Failed)): (.*)$", text, flags=re.MULTILINE)
    name, message = found[-1] if found else (type(error).__name__, text)
    return name.rpartition(".")[2], re.sub(r" \[while running '.*'\]$", "", message)
