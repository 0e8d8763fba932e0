from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue.reasons import StorageError
from pipeline.metering.counts import counted, note_begin
from pipeline.metering.meter import Meter


def write(folder: Path, worker: str, **counts: int) -> None:
    (folder / f"progress-{worker}.json").write_text(json.dumps(counts))


def test_work_that_is_repeated_counts_once(tmp_path: Path) -> None:
    """One of two workers is lost, and the engine restarts the job in the remaining worker and in a new one."""
    folder = str(tmp_path)
    note_begin(folder)
    assert counted(folder) == {}
    write(tmp_path, "a", **{"listed in x": 300, "listed in y": 54, "classified": 150})
    write(tmp_path, "b", classified=130)
    assert counted(folder) == {"listed": 354, "classified": 280}
    note_begin(folder)
    assert counted(folder) == {"listed": 354}
    write(tmp_path, "a", **{"listed in x": 300, "listed in y": 54, "classified": 190, "reused": 270})
    write(tmp_path, "c", **{"listed in x": 120, "wrong in x": 2, "classified": 44})
    assert counted(folder) == {"listed": 354, "wrong": 2, "classified": 84, "reused": 270}
    note_begin(folder)
    write(tmp_path, "c", **{"listed in x": 300, "wrong in x": 4, "classified": 50})
    assert counted(folder) == {"listed": 354, "wrong": 4, "classified": 6}


def test_rows_that_a_part_of_a_job_lists_again_count_once(tmp_path: Path) -> None:
    """If Spark loses a machine, it recomputes the lost output of a stage, in the same worker or in another."""
    first, second = (Meter(str(tmp_path)) for _ in range(2))
    for meter in (first, first, second):
        with meter.working():
            meter.begin_listing("x")
            for rows in (1000, 2000, 2500):
                meter.count_listed("x", rows, rows // 1000)
            meter.write()
    assert counted(str(tmp_path)) == {"listed": 2500, "wrong": 2}


def test_files_that_cannot_be_read_are_left_out_unless_each_must_count(tmp_path: Path) -> None:
    write(tmp_path, "a", listed=3)
    (tmp_path / "progress-b.json").touch()
    assert counted(str(tmp_path)) == {"listed": 3}
    with pytest.raises(ValueError, match="Expecting value"):
        counted(str(tmp_path), strictly=True)
    assert counted(str(tmp_path / "none")) == {}
    with pytest.raises(StorageError):
        counted(str(tmp_path / "none"), strictly=True)
