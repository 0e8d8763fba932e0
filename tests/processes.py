"""Inspection of the processes of commands under test: workers, memory, open files."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest


def children(pid: int) -> list[int]:
    """Return the running children of a process; none if the process has ended."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            found += map(int, task.read_text().split())
    return found


def wait_for_end(pids: list[int], seconds: float = 5) -> None:
    """Wait until processes have ended, and fail if they take too long."""
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            pytest.fail("a process is still running")
        time.sleep(0.05)


def resident_bytes(pid: int) -> int:
    """Return the private memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def open_files(pid: int) -> int:
    """Return the number of files and sockets that a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
