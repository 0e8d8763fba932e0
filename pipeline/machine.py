"""Cores, memory and GPUs available to this process, within the limits of its container; garbage collection."""

from __future__ import annotations

import gc
import os
from pathlib import Path

_LIMITS = Path("/sys/fs/cgroup")
_DEVICES = Path("/dev")


def cores() -> int:
    """Return the number of cores available to this process, at least 1."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _limit("cpu.max", 2)
    return max(1, min(available, quota // period)) if quota and period else available


def memory() -> int:
    """Return the memory available to this process and its children, in bytes."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (limit,) = _limit("memory.max", 1)
    return min(physical, limit) if limit else physical


def has_gpu() -> bool:
    """Return whether there is an NVIDIA GPU. Checking whether TensorFlow can use it would take seconds."""
    return any(_DEVICES.glob("nvidia[0-9]*"))


def freeze_heap() -> None:
    """Exclude all objects loaded so far, such as libraries and the model, from garbage collection.

    Otherwise every collection traverses them again. Reading images from object stores triggers many collections, which
    would then take a fifth of the time spent on reading.
    """
    gc.collect()
    gc.freeze()


def _limit(name: str, count: int) -> list[int]:
    """Return the numbers in a cgroup v2 file; 0 where no limit is set.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    try:
        words = (_LIMITS / name).read_text(encoding="ascii").split()
    except OSError:
        words = []
    numbers = [int(word) if word.isdigit() else 0 for word in words]
    return numbers if len(numbers) == count else [0] * count
