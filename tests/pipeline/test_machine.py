"""Detection of cores and memory, with and without the limits of a container, and of GPUs."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from pipeline import machine

GIBIBYTE = 2**30


def test_a_frozen_heap_is_excluded_from_garbage_collection() -> None:
    class Node:
        own: Node

    kept, rubbish = Node(), Node()
    kept.own, rubbish.own = kept, rubbish
    gone = weakref.ref(rubbish)
    del rubbish
    machine.freeze_heap()
    assert not any(found is kept for found in gc.get_objects())
    assert gone() is None
    gc.unfreeze()


@pytest.mark.parametrize(
    ("file", "cores"),
    [
        (None, 8),
        ("max 100000\n", 8),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("unknown", 8),
    ],
)
def test_cores(file: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "_LIMITS", tmp_path)
    if file:
        (tmp_path / "cpu.max").write_text(file)
    assert machine.cores() == cores


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (None, 32 * GIBIBYTE),
        ("max\n", 32 * GIBIBYTE),
        (f"{4 * GIBIBYTE}\n", 4 * GIBIBYTE),
        (f"{64 * GIBIBYTE}\n", 32 * GIBIBYTE),
    ],
)
def test_memory(file: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**23}.get)
    monkeypatch.setattr(machine, "_LIMITS", tmp_path)
    if file:
        (tmp_path / "memory.max").write_text(file)
    assert machine.memory() == expected


@pytest.mark.parametrize(("names", "expected"), [(["nvidia0", "nvidiactl"], True), (["nvidiactl", "null"], False)])
def test_gpus(names: list[str], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_DEVICES", tmp_path)
    for name in names:
        (tmp_path / name).touch()
    assert machine.has_gpu() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes to cores")
def test_a_process_that_is_pinned_to_one_core_has_one(repository: Path) -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    code += "\nfrom pipeline.machine import cores; print(cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout == "1\n"
