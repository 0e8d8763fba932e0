from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.storage.paths import temporary_name
from tests.conftest import ObjectStore
from trainer.fitting import checkpoints

RUN = {"seed": 1, "main": {"epochs": 3}}
ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7), np.zeros(0, np.uint32)]


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, open_object_store: Callable[[str], ObjectStore]) -> str:
    return str(tmp_path / "deep/kept") if request.param == "local" else open_object_store("s3").root


def test_gives_back_what_was_kept(folder: str) -> None:
    kept = checkpoints.opened(folder, RUN, resume=False, seconds=0)
    assert kept.load("head") is None
    for epoch in (1, 2):
        kept.save("head", [array + epoch for array in ARRAYS], {"epoch": epoch, "loss": 0.1 + 0.2})
    kept.save("network", [], {})
    arrays, meta = checkpoints.opened(folder, RUN, resume=True, seconds=0).load("head") or ([], {})
    assert meta == {"epoch": 2, "loss": 0.1 + 0.2}
    for array, expected in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, expected + 2)
        assert array.dtype == (expected + 2).dtype


def test_begins_anew_unless_told_otherwise(folder: str) -> None:
    checkpoints.opened(folder, RUN, resume=False, seconds=0).save("head", ARRAYS, {})
    assert checkpoints.opened(folder, RUN, resume=False, seconds=0).load("head") is None


def test_what_a_killed_process_left_half_written_is_no_obstacle(tmp_path: Path) -> None:
    checkpoints.opened(str(tmp_path), RUN, resume=False, seconds=0).save("head", ARRAYS, {})
    (tmp_path / temporary_name()).write_bytes(b"half")
    assert checkpoints.opened(str(tmp_path), RUN, resume=True, seconds=0).load("head") is not None
    checkpoints.remove(str(tmp_path))
    assert not tmp_path.exists()
    tmp_path.mkdir()
    (tmp_path / temporary_name()).write_bytes(b"half")
    checkpoints.opened(str(tmp_path), RUN, resume=False, seconds=0)


def test_another_run_is_not_resumed(folder: str) -> None:
    checkpoints.opened(folder, RUN, resume=False, seconds=0).save("head", ARRAYS, {})
    with pytest.raises(UserError, match=r"belong to another run \(--epochs 3, now 4\)"):
        checkpoints.opened(folder, {**RUN, "main": {"epochs": 4}}, resume=True, seconds=0)
    assert checkpoints.opened(folder, RUN, resume=True, seconds=0).load("head") is not None


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """Other programs also keep arrays in files and name a folder ``features``."""
    for name in ("kept", "arrays", "features-of-others"):
        (tmp_path / name).mkdir()
    checkpoints.opened(str(tmp_path / "kept"), RUN, resume=False, seconds=0)
    (tmp_path / "features-of-others/features").mkdir()
    for folder, name in (
        (tmp_path, "run.json"),
        (tmp_path / "kept", "thesis.txt"),
        (tmp_path / "kept", "measured.npz"),
        (tmp_path / "arrays", "network.npz"),
        (tmp_path / "features-of-others", "features/mine.txt"),
    ):
        (folder / name).write_text("precious")
        for resume in (False, True):
            with pytest.raises(UserError, match="which is not a checkpoint"):
                checkpoints.opened(str(folder), RUN, resume=resume, seconds=0)
        assert (folder / name).read_text() == "precious"


def test_a_place_where_nobody_may_write_is_reported() -> None:
    with pytest.raises(UserError, match="the checkpoint folder /proc/kept cannot be read or written"):
        checkpoints.opened("/proc/kept", RUN, resume=False, seconds=0)


def test_only_files_of_checkpoints_are_removed(folder: str) -> None:
    kept = checkpoints.opened(folder, RUN, resume=False, seconds=0)
    kept.save("network", ARRAYS, {})
    storage.write_text(f"{folder}/notes.txt", "precious")  # written in the meantime
    checkpoints.remove(folder)
    assert [file.location for file in storage.list_files(folder)] == [f"{folder}/notes.txt"]


def test_checkpoints_of_another_run_are_left_alone(folder: str) -> None:
    checkpoints.opened(folder, RUN, resume=False, seconds=0).save("network", ARRAYS, {})
    checkpoints.remove_those_of(folder, {**RUN, "seed": 2})
    assert checkpoints.opened(folder, RUN, resume=True, seconds=0).load("network") is not None
    checkpoints.remove_those_of(folder, dict(RUN))
    assert not storage.exists(folder)
    checkpoints.remove_those_of(folder, RUN)  # not an error if nothing is there


def test_checkpoints_are_due_after_a_while_and_removed_in_the_end(folder: str) -> None:
    assert checkpoints.opened(folder, RUN, resume=False, seconds=0).due()
    assert not checkpoints.opened(folder, RUN, resume=False, seconds=60).due()
    assert not checkpoints.Checkpoints(None, 0).due()
    checkpoints.remove(folder)
    assert not storage.exists(folder)
