from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue.cli.errors import UserError
from catalogue.reasons import Reason, StorageError
from pipeline.run_dir.previous import previous_runs
from pipeline.run_dir.run import Run

Commit = Callable[..., dict[str, Any]]


@pytest.fixture
def runs(commit_rows: Commit, run: Run, tmp_path: Path) -> Path:
    """A folder with three runs, of which the newest failed, and with a file and a folder that are not runs."""
    folder = tmp_path / "runs"
    for name, letters in (("2", 0), ("1", 0), ("3", 10)):
        output = f"{folder}/{name}"
        commit_rows(dataclasses.replace(run, output=output), 10, letters)
        record = json.loads(Path(output, "run.json").read_text())
        record["timings"]["finished"] = f"2026-11-0{name}T00:00:00.000+00:00"
        Path(output, "run.json").write_text(json.dumps(record))
    (folder / "notes.txt").write_text("mine")
    (folder / "photos").mkdir()
    return folder


def test_a_run_or_the_newest_finished_one_in_a_folder(runs: Path) -> None:
    assert previous_runs(None, "/none") == ()
    assert previous_runs(str(runs / "1"), "/none") == (f"{runs}/1",)
    assert previous_runs(str(runs / "3"), "/none") == (f"{runs}/3",)  # it failed, but its results are valid
    assert previous_runs(str(runs), f"{runs}/4") == (f"{runs}/2",)


def test_a_run_that_failed_is_continued_in_its_place(runs: Path) -> None:
    assert previous_runs(None, f"{runs}/3") == (f"{runs}/3",)
    assert previous_runs(str(runs), f"{runs}/3") == (f"{runs}/2", f"{runs}/3")
    assert previous_runs(None, f"{runs}/2") == ()  # a finished run that is overwritten is not reused
    assert previous_runs(f"{runs}/3", f"{runs}/3") == (f"{runs}/3",)


def test_without_an_earlier_run_there_is_nothing_to_reuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert previous_runs(str(tmp_path), "/none") == ()
    assert previous_runs(f"{tmp_path}/runs", f"{tmp_path}/runs/1") == ()  # the first run of a nightly job
    assert capsys.readouterr().err.count("there is nothing to reuse") == 2
    with pytest.raises(UserError, match="does not exist: give a run directory"):
        previous_runs(f"{tmp_path}/runs", "/none")


@pytest.mark.parametrize("flag", ["--previous", "--output"])
def test_the_flag_of_a_folder_that_cannot_be_read_is_named(
    runs: Path, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(path: str) -> None:
        raise StorageError(Reason.READ_FAILED, "the network is away")

    monkeypatch.setattr("pipeline.run_dir.previous.read_record", unreadable)
    given, output = (f"{runs}/3", "/none") if flag == "--previous" else (None, f"{runs}/3")
    with pytest.raises(UserError, match=f"^{flag} {runs}/3 cannot be read: read_failed: the network is away$"):
        previous_runs(given, output)


def test_a_file_is_no_previous_run(runs: Path) -> None:
    with pytest.raises(UserError, match="is a file: give a run directory"):
        previous_runs(f"{runs}/notes.txt", "/none")


def test_a_run_of_an_older_version_has_no_journal(runs: Path) -> None:
    shutil.rmtree(runs / "1/journal")
    with pytest.raises(UserError, match="has no journal: it was written by an older version"):
        previous_runs(str(runs / "1"), "/none")
