from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalogue import storage
from catalogue.storage import globs


def test_a_link_hides_no_folder(tmp_path: Path) -> None:
    storage.write_text(f"{tmp_path}/photos/zeta/a.jpg", "x")
    storage.write_text(f"{tmp_path}/photos/.hidden", "x")
    (tmp_path / "photos/all").symlink_to("zeta")

    def found(files: Iterator[storage.Listed]) -> set[str]:
        return {os.path.relpath(file.location, tmp_path / "photos") for file in files}

    assert found(globs.in_folder(str(tmp_path / "photos"))) == {"zeta/a.jpg"}
    assert found(globs.matches(f"{tmp_path}/photos/**")) == {"zeta/a.jpg"}
    assert found(globs.in_folder(str(tmp_path / "photos/all"))) == {"all/a.jpg"}
    assert found(globs.matches(f"{tmp_path}/photos/a*/*.jpg")) == {"all/a.jpg"}
    assert found(globs.matches(f"{tmp_path}/photos/*/*.jpg")) == {"all/a.jpg", "zeta/a.jpg"}


HIDDEN = [
    ".Trash-1000/files/a.jpg", ".ipynb_checkpoints/a.jpg", "x/.thumbnails/a.jpg", "x/@eaDir/a.jpg/thumb.jpg",
    "__MACOSX/x/._a.jpg", "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg", "System Volume Information/a", "lost+found/a.jpg",
    "#snapshot/a.jpg", "x/.DS_Store", "x/Thumbs.db", "x/desktop.ini",
]  # fmt: skip


def test_hidden_files_and_folders_of_systems_are_left_out_and_counted(tmp_path: Path) -> None:
    root = f"{tmp_path}/.photos"  # hidden itself, but named explicitly
    shown = ["a.jpg", "x/b.jpg", "x/a.b/c.jpg", "eaDir/d.jpg", "x/recycle#/e.jpg", "x/not desktop.ini"]
    for name in [*shown, *HIDDEN]:
        storage.write_text(f"{root}/{name}", "x")
    left_out = collections.Counter[str]()
    found = [file.location.removeprefix(f"{root}/") for file in globs.in_folder(f"{root}/", left_out)]
    assert sorted(found) == sorted(shown)
    assert sum(left_out.values()) == len(HIDDEN)
    assert {".Trash-1000", "@eaDir", "__MACOSX", "#recycle", ".DS_Store", "Thumbs.db"} <= set(left_out)
    assert {file.location.removeprefix(f"{root}/") for file in globs.matches(f"{root}/**")} == set(shown)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.jpg", ["a/1.jpg", "a/locked", "b/locked"]),
        ("*/*/*.jpg", ["a/locked", "b/locked"]),
        ("*/*.jpg", ["a/1.jpg"]),
        ("b*/**/*.jpg", ["b/locked"]),
        ("*/un*/*.jpg", []),
        ("*/*ed/**", ["a/locked", "b/locked"]),
        (".*/*.jpg", [".locked"]),
    ],
)
def test_folders_that_cannot_be_listed_are_found_where_they_may_hold_matches(
    tmp_path: Path, lock: Callable[[Path], None], pattern: str, expected: list[str]
) -> None:
    for name in ("a/1.jpg", "a/locked/2.jpg", "b/locked/3.jpg", ".locked/4.jpg", "lost+found/5.jpg"):
        storage.write_text(f"{tmp_path}/{name}", "x")
    for name in ("a/locked", "b/locked", ".locked", "lost+found"):
        lock(tmp_path / name)
    found = list(globs.matches(f"{tmp_path}/{pattern}"))
    assert [os.path.relpath(file.location, tmp_path) for file in found] == expected
    assert [file.error is None for file in found] == [name.endswith(".jpg") for name in expected]


def test_hidden_folders_need_not_be_listable(tmp_path: Path, lock: Callable[[Path], None]) -> None:
    """Only the superuser may list the folder lost+found at the top of a disk."""
    storage.write_text(f"{tmp_path}/a.jpg", "x")
    for name in ("lost+found", ".Trash-0"):
        storage.write_text(f"{tmp_path}/{name}/b.jpg", "x")
        lock(tmp_path / name)
    left_out = collections.Counter[str]()
    assert [file.location for file in globs.in_folder(str(tmp_path), left_out)] == [f"{tmp_path}/a.jpg"]
    assert left_out == {"lost+found": 1, ".Trash-0": 1}


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        ("{tmp}/photos", "{tmp}/photos/run/run.json", True),
        ("{tmp}/photos", "{tmp}/photos-of-others/run.json", False),
        ("{tmp}/photos/*.json", "{tmp}/photos/run.json", True),
        ("{tmp}/photos/*.jpg", "{tmp}/photos/run.json", False),
        ("{tmp}/**/run.json", "{tmp}/photos/a/b/run.json", True),
        ("gs://shop/photos", "gs://shop/photos/run.json", True),
        ("gs://shop/photos", "gs://shop/photographs/run.json", False),
    ],
)
def test_whether_an_input_names_a_file_that_does_not_exist_yet(
    tmp_path: Path, where: str, path: str, expected: bool
) -> None:
    (tmp_path / "photos").mkdir()
    assert globs.names(where.format(tmp=tmp_path), path.format(tmp=tmp_path)) is expected
