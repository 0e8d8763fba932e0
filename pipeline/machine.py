"""The machine of this process: cores and memory, also where a container gives it less than there is; GPUs; the heap."""

from __future__ import annotations

import gc
import os
from pathlib import Path

_LIMITS = Path("/sys/fs/cgroup")
_DEVICES = Path("/dev")


def cores() -> int:
    """How many cores there are for this process, one at least."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _limit("cpu.max", 2)
    return max(1, min(available, quota // period)) if quota and period else available


def memory() -> int:
    """How many bytes of memory there are for this process and its children."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (limit,) = _limit("memory.max", 1)
    return min(physical, limit) if limit else physical


def has_gpu() -> bool:
    """Whether there is a GPU of NVIDIA's; whether TensorFlow can use it takes seconds to find out."""
    return any(_DEVICES.glob("nvidia[0-9]*"))


def freeze_heap() -> None:
    """Spares the garbage collector what this process has loaded by now and will keep: libraries, the model.

    Else it goes through all of that again and again while objects are read, each of which leaves a little: a fifth of
    the time that reading them takes.
    """
    gc.collect()
    gc.freeze()


def _limit(name: str, count: int) -> list[int]:
    """The numbers of a file of Linux's control groups, version 2; zeros where it sets no limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    try:
        words = (_LIMITS / name).read_text(encoding="ascii").split()
    except OSError:
        words = []
    numbers = [int(word) if word.isdigit() else 0 for word in words]
    return numbers if len(numbers) == count else [0] * count
