from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue.reasons import StorageError
from pipeline.metering.counts import counted, note_begin


def write(folder: Path, worker: str, **counts: int) -> None:
    (folder / f"progress-{worker}.json").write_text(json.dumps(counts))


def test_work_that_is_repeated_counts_once(tmp_path: Path) -> None:
    """One of two workers is lost, and the engine starts the job again, in the other one and in a new one."""
    folder = str(tmp_path)
    note_begin(folder)
    assert counted(folder) == {}
    write(tmp_path, "a", listed=354, classified=150)
    write(tmp_path, "b", classified=130)
    assert counted(folder) == {"listed": 354, "classified": 280}
    note_begin(folder)
    assert counted(folder) == {}
    write(tmp_path, "a", listed=708, classified=190, reused=270)
    write(tmp_path, "c", classified=44)
    assert counted(folder) == {"listed": 354, "classified": 84, "reused": 270}
    note_begin(folder)
    write(tmp_path, "c", listed=354, classified=44)
    assert counted(folder) == {"listed": 354}


def test_files_that_cannot_be_read_are_left_out_unless_each_must_count(tmp_path: Path) -> None:
    write(tmp_path, "a", listed=3)
    (tmp_path / "progress-b.json").touch()
    assert counted(str(tmp_path)) == {"listed": 3}
    with pytest.raises(ValueError, match="Expecting value"):
        counted(str(tmp_path), strictly=True)
    assert counted(str(tmp_path / "none")) == {}
    with pytest.raises(StorageError):
        counted(str(tmp_path / "none"), strictly=True)
