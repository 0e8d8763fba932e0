"""Runs a program that receives a signal from Linux when its parent process ends, even if the parent is killed.

This file is run by its path, to import no package: ``python parent_death.py SIGNAL PARENT PROGRAM [ARGUMENT ...]``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Source: prctl(2). The setting survives exec. It only exists on Linux."""


def command(number: signal.Signals) -> list[str]:
    """Return the command-line prefix that makes a program receive a signal when this process ends."""
    return [sys.executable, __file__, str(int(number)), str(os.getpid())]


def main() -> None:
    """Replace this process with the program, unless the parent has already ended."""
    number, parent, *words = sys.argv[1:]
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() == int(parent):
        os.execvp(words[0], words)


if __name__ == "__main__":
    main()
