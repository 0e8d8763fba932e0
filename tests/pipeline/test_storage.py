from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import storage

ODD = "runs [1]*?"  # Beam would take it for a pattern


def test_a_local_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    storage.write_text(f"{folder}/deep/a.txt", "ä")
    storage.write_text(f"{folder}/b.txt", "b")
    assert storage.files(str(folder)) == [f"{folder}/b.txt", f"{folder}/deep/a.txt"]
    assert storage.read_text(f"{folder}/deep/a.txt") == "ä"
    assert storage.exists(f"{folder}/b.txt")
    storage.remove(str(folder))
    assert not folder.exists()
    storage.remove(str(folder))
    assert storage.files(str(folder)) == []


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/a").touch()
    (tmp_path / "link").symlink_to("kept")
    storage.remove(str(tmp_path / "link"))
    assert (tmp_path / "kept/a").exists()
    assert not (tmp_path / "link").exists()


@pytest.mark.parametrize("links", [True, False])
def test_copies_within_a_file_system(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("rows")
    storage.copy_within([str(tmp_path / "a")], [str(tmp_path / "new/part")])
    storage.remove(str(tmp_path / "a"))
    assert (tmp_path / "new/part").read_text() == "rows"


def test_a_path_means_the_same_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/../b/") == f"{tmp_path}/b"
    assert storage.absolute("gs://shop/run/") == "gs://shop/run"


@pytest.mark.parametrize("uri", ["file:///a%20b/c", "FILE:///a%20b/c", "file://localhost/a b/c/", "/a b/c"])
def test_file_uris_are_paths(uri: str) -> None:
    assert storage.absolute(uri) == "/a b/c"


def test_any_file_is_copied_unchanged(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b no gzip" * 200_000)  # Beam would unpack by name
    storage.copy(str(tmp_path / "a.gz"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a.gz").read_bytes()
