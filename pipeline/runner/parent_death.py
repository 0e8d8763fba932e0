"""Runs a program to which Linux sends a signal when the process that asked for it ends, even if that was killed.

Started by its path, so that it needs no package: ``python parent_death.py SIGNAL PARENT PROGRAM [ARGUMENT ...]``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Source: prctl(2). The setting survives the exec. Other systems than Linux do not have it."""


def command(number: signal.Signals) -> list[str]:
    """The words that come before a program and its arguments. The signal is sent when this process ends."""
    return [sys.executable, __file__, str(int(number)), str(os.getpid())]


def main() -> None:
    """Becomes the program, unless its parent has ended meanwhile."""
    number, parent, *words = sys.argv[1:]
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() == int(parent):
        os.execvp(words[0], words)


if __name__ == "__main__":
    main()
