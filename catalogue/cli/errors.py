"""The errors that end a command with one line and no traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong and what to do. Exit code 2."""


class CommandFailed(Exception):
    """A command ran and its result is not good: one line that says why. Exit code 1, no traceback."""


class Fault(Exception):
    """Something broke that nobody foresaw; what is known in one line, the rest in the log. Exit code 1."""


class Interrupted(KeyboardInterrupt):
    """A signal told the command to end. Exit code 128 plus the number of the signal.

    Args:
        signal: its number.
        message: one line for the terminal.
    """

    def __init__(self, signal: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signal = signal
