from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalogue.lists import matching


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make(photos, "a.jpg", "deep/e.jpg")
    make(tmp_path, "elsewhere/f.jpg")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (photos / "deep/loop").symlink_to(photos)
    names = [Path(path).name for path in matching.in_folder(str(photos))]
    assert names.count("f.jpg") == 1
    assert names.count("a.jpg") == 1  # the loop leads back to a folder it is below


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", {"a.jpg"}),
        ("**/*.jpg", {"a.jpg", "deep/e.jpg", "deep/er/c.jpg", "deep/.cache/d.jpg"}),
        ("**.jpg", {"a.jpg", "deep/e.jpg", "deep/er/c.jpg", "deep/.cache/d.jpg"}),
        ("deep/**", {"deep/e.jpg", "deep/er/c.jpg", "deep/.cache/d.jpg"}),
        ("deep/*/c.jpg", {"deep/er/c.jpg"}),
        ("?.jpg", {"a.jpg"}),
        ("[ab].*", {"a.jpg", "b.PNG"}),
        ("[!a].*", {"b.PNG"}),
        (".*.jpg", {".hidden.jpg"}),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: set[str]) -> None:
    folder = tmp_path / "plain"
    make(folder, "a.jpg", "b.PNG", ".hidden.jpg", "deep/er/c.jpg", "deep/.cache/d.jpg", "deep/e.jpg")
    found = {os.path.relpath(path, folder) for path in matching.matches(f"{folder}/{pattern}")}
    assert found == expected


def test_a_link_hides_no_folder(tmp_path: Path) -> None:
    make(tmp_path, "photos/zeta/a.jpg")
    (tmp_path / "photos/all").symlink_to("zeta")
    assert {os.path.relpath(path, tmp_path / "photos") for path in matching.in_folder(str(tmp_path / "photos"))} == {
        "all/a.jpg",
        "zeta/a.jpg",
    }


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
    assert matching.names(where.format(tmp=tmp_path), path.format(tmp=tmp_path)) is expected
