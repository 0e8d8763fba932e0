from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue import storage
from catalogue.cli.errors import UserError
from tests.conftest import ObjectStore
from trainer.data.examples import find_examples


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")


def test_finds_files_however_deep_but_not_hidden_ones(tmp_path: Path) -> None:
    make(tmp_path, "hat/1.jpg", "hat/new/2019/2.JPG", "hat/.DS_Store", "shoes/3.jpg", ".git/config", "readme.txt")
    for data in (str(tmp_path), f"{tmp_path}/", f"file://{tmp_path}", f"FILE://localhost{tmp_path}/"):
        found = {(os.path.relpath(example.uri, tmp_path), example.label) for example in find_examples(data)}
        assert found == {("hat/1.jpg", "hat"), ("hat/new/2019/2.JPG", "hat"), ("shoes/3.jpg", "shoes")}


def test_a_folder_that_cannot_be_listed_is_refused_unless_it_is_hidden(
    tmp_path: Path, lock: Callable[[Path], None]
) -> None:
    make(tmp_path, "hat/1.jpg", "shoes/2.jpg", "hat/new/3.jpg", "lost+found/4.jpg")
    lock(tmp_path / "lost+found")
    assert len(find_examples(str(tmp_path))) == 3
    lock(tmp_path / "hat/new")
    with pytest.raises(UserError, match=r"cannot be read: the folder cannot be listed: .*hat/new"):
        find_examples(str(tmp_path))


def test_files_beside_the_class_folders_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "hat/1.jpg", "shoes/2.jpg", "loose.jpg", "readme.txt")
    assert len(find_examples(str(tmp_path))) == 2
    said = capsys.readouterr().err
    assert f"warning: skipped 2 files outside the class folders of {tmp_path}, for example {tmp_path}/" in said


def test_folders_that_look_the_same_are_one_class(tmp_path: Path) -> None:
    """macOS uses one normalization form of Unicode, other systems another."""
    make(tmp_path, "H\u00fcte/1.jpg", "Hu\u0308te/2.jpg", "shoes/3.jpg")
    assert [example.label for example in find_examples(str(tmp_path))] == ["H\u00fcte", "H\u00fcte", "shoes"]
    (tmp_path / "list.csv").write_text("uri,label\na.jpg,H\u00fcte\nb.jpg,Hu\u0308te\n", encoding="utf-8")
    assert {example.label for example in find_examples(str(tmp_path / "list.csv"))} == {"H\u00fcte"}


def test_hidden_folders_are_not_trained_on_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(
        tmp_path,
        "hat/1.jpg",
        "hat/.Trash-1000/files/2.jpg",
        "hat/@eaDir/1.jpg/thumb.jpg",
        "shoes/3.jpg",
        "__MACOSX/x.jpg",
    )
    found = {os.path.relpath(example.uri, tmp_path) for example in find_examples(str(tmp_path))}
    assert found == {"hat/1.jpg", "shoes/3.jpg"}
    assert capsys.readouterr().err.count("3 hidden files skipped: .Trash-1000, @eaDir, __MACOSX") == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "no class subfolders"),
        (["1.jpg"], "no class subfolders"),
        (["hat/1.jpg", "shoes/.hidden"], "no photos in 'shoes'"),
    ],
)
def test_refuses_what_cannot_be_learned_from(tmp_path: Path, files: list[str], words: str) -> None:
    make(tmp_path, *files)
    with pytest.raises(UserError, match=words):
        find_examples(str(tmp_path))


def test_reads_any_object_store(object_store: ObjectStore) -> None:
    for name in ("hat/1.jpg", "hat/deep/2.jpg", "hat/.hidden", "shoes/3.jpg"):
        storage.write_bytes(f"{object_store.root}/{name}", b"x")
    for data in (object_store.root, f"{object_store.root}/"):
        found = [(example.uri.removeprefix(f"{object_store.root}/"), example.label) for example in find_examples(data)]
        assert sorted(found) == [("hat/1.jpg", "hat"), ("hat/deep/2.jpg", "hat"), ("shoes/3.jpg", "shoes")]
    with pytest.raises(UserError, match="does not exist: --data accepts a folder"):
        find_examples(f"{object_store.root}/none")
