"""Exceptions that end a command with a one-line message and no traceback."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can fix: one line with the problem and the remedy. Exit code 2."""


class CommandFailed(Exception):
    """A command ran but did not succeed: one line with the cause. Exit code 1, no traceback."""


class Fault(Exception):
    """An unexpected failure: one line with the known cause, details in the log. Exit code 1."""


class Interrupted(KeyboardInterrupt):
    """A signal interrupted the command. Exit code 128 plus the signal number.

    Args:
        signal: signal number.
        message: one line for the terminal.
    """

    def __init__(self, signal: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signal = signal
