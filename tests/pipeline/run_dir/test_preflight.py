from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue.cli.errors import Fault, UserError
from pipeline.errors import JobGoesOnError
from pipeline.records import Part
from pipeline.run_dir.preflight import attempt, check, new_folders
from pipeline.run_dir.run import Run

Commit = Callable[..., dict[str, Any]]
MakePart = Callable[..., Part]


STRANGERS = {
    "another program's run.json": {"run.json": '{"lr": 1}', "report.html": "mine"},
    "output of Spark": {"_SUCCESS": "", "part-00000.parquet": "rows"},
    "temporary files of Hadoop": {"_temporary/0/task/part-00000": "rows"},
    "notes beside a lock": {"_lock": "{}", "notes.txt": "mine"},
    "notes": {"notes.txt": "mine"},
    "invalid JSON": {"run.json": "{"},
}


def test_what_may_be_written_to(part: MakePart, commit_rows: Commit, run: Run, tmp_path: Path) -> None:
    check(str(tmp_path / "new"), overwrite=False)
    (tmp_path / "empty").mkdir()
    check(str(tmp_path / "empty"), overwrite=False)
    part(run, "predictions", 0, 3)
    (Path(run.temporary) / "started").touch()
    check(run.output, overwrite=False)  # a killed attempt
    commit_rows(run, 10, 10)
    check(run.output, overwrite=False)  # a failed run
    commit_rows(dataclasses.replace(run, token="f" * 12), 10, 0)
    check(run.output, overwrite=True)
    with pytest.raises(UserError, match="holds a finished run: choose another folder or give --overwrite"):
        check(run.output, overwrite=False)


def test_what_a_full_disk_leaves_is_written_to_again(tmp_path: Path) -> None:
    (tmp_path / "_temporary/0123456789ab").mkdir(parents=True)
    (tmp_path / "_lock").touch()
    (tmp_path / f".{'0' * 32}.new").write_bytes(b"half")
    check(str(tmp_path), overwrite=False)
    (tmp_path / f"_temporary/0123456789ab/.{'0' * 32}.new").write_bytes(b"half")
    check(str(tmp_path), overwrite=False)


@pytest.mark.parametrize("case", STRANGERS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_looks_like_a_run_is_none(tmp_path: Path, case: str, overwrite: bool) -> None:
    for name, content in STRANGERS[case].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="is not a run directory"):
        check(str(tmp_path), overwrite=overwrite)


def test_files_of_others_among_the_parts_are_never_deleted(commit_rows: Commit, run: Run) -> None:
    commit_rows(run, 10, 0)
    Path(run.output, "predictions/by_hand.csv").write_text("mine")
    with pytest.raises(UserError, match="is not a run directory"):
        check(run.output, overwrite=True)


def test_a_job_that_runs_elsewhere_keeps_its_files(run: Run) -> None:
    with pytest.raises(JobGoesOnError), attempt(run):
        raise JobGoesOnError("interrupted", 2)
    assert Path(run.temporary, "started").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_never_written_to(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    with pytest.raises(UserError, match="is not a run directory"):
        check(str(tmp_path), overwrite=overwrite)
    with pytest.raises(UserError, match="is a file"):
        check(str(tmp_path / "photos/a.jpg"), overwrite=overwrite)


def test_an_attempt_that_failed_leaves_nothing(part: MakePart, run: Run, tmp_path: Path) -> None:
    run = dataclasses.replace(run, output=f"{run.output}/deep/er")

    def fail() -> None:
        part(run, "predictions", 0, 3)
        raise RuntimeError

    with pytest.raises(RuntimeError), new_folders(run.output), attempt(run):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_attempt_that_failed_keeps_finished_work(part: MakePart, run: Run) -> None:
    def fail() -> None:
        part(run, "predictions", 0, 3)
        Path(run.temporary, "chunk-1").touch()
        raise Fault("the disk is full")

    with pytest.raises(Fault) as error, new_folders(run.output), attempt(run):
        fail()
    assert str(error.value) == "the disk is full; finished work is kept; to continue, run: python -m pipeline"
    assert {file.name for file in Path(run.temporary).iterdir()} == {"started", "chunk-1"}
    check(run.output, overwrite=False)


def test_an_attempt_that_failed_touches_no_neighbor(run: Run) -> None:
    other = Path(run.output, "_temporary/other/predictions-1.jsonl")
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(RuntimeError), attempt(run):
        raise RuntimeError
    assert other.exists()
    assert not Path(run.temporary).exists()


def test_an_output_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"), attempt(run):
        pass
