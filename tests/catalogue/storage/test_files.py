from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalogue.cli.console import UserError
from catalogue.images.reader import ImageError, Limits, Reason
from catalogue.storage import files


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    ("path", "remote"), [("gs://b/a", True), ("S3://b", True), ("/a/b", False), ("a:b", False), ("a/b://c", False)]
)
def test_what_is_remote(path: str, remote: bool) -> None:
    assert files.is_remote(path) is remote


def test_lists_every_file_below_a_folder_in_order_and_follows_links_once(tmp_path: Path) -> None:
    make(tmp_path, "b/2.jpg", "a/deep/1.jpg", "c.jpg")
    (tmp_path / "a/again").symlink_to(tmp_path)
    (tmp_path / "z").symlink_to("b")
    found = [os.path.relpath(path, tmp_path) for path in files.below(str(tmp_path))]
    assert found == ["a/deep/1.jpg", "b/2.jpg", "c.jpg", "z/2.jpg"]
    assert sorted(files.folders(str(tmp_path)) or []) == ["a", "b", "z"]
    assert files.folders(f"{tmp_path}/none") is None


def test_lists_any_file_system_of_tensorflow() -> None:
    import tensorflow as tf

    for path in ("ram://below/b/2.jpg", "ram://below/a/1.jpg"):
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"x" * 100)
    assert list(files.below("ram://below")) == ["ram://below/a/1.jpg", "ram://below/b/2.jpg"]
    assert files.folders("ram://below") == ["a", "b"]
    assert files.read_bytes("ram://below/a/1.jpg", Limits(max_bytes=10)) == b"x" * 11
    with pytest.raises(ImageError) as error:
        files.read_bytes("ram://below/a/2.jpg")
    assert error.value.reason is Reason.NOT_FOUND


def test_reads_no_more_than_it_takes_to_refuse(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert len(files.read_bytes(f"{tmp_path}/a.jpg", Limits(max_bytes=10))) == 11
    assert len(files.read_whole(f"{tmp_path}/a.jpg")) == 100


def test_what_cannot_be_read_has_its_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", Reason.NOT_FOUND), (tmp_path, Reason.NOT_FOUND)):
        with pytest.raises(ImageError) as error:
            files.read_bytes(str(path))
        assert error.value.reason is reason
    with pytest.raises(UserError, match="none cannot be read"):
        files.read_whole(f"{tmp_path}/none")


def test_a_new_folder_is_one_that_is_not_there_or_empty(tmp_path: Path) -> None:
    make(tmp_path, "full/1.txt", "file")
    (tmp_path / "empty").mkdir()
    for good in ("empty", "new/and/deep"):
        files.check_new_folder(str(tmp_path / good), "--output")
    for bad, words in (("full", "exists"), ("file", "exists"), ("file/below", "cannot be made in")):
        with pytest.raises(UserError, match=f"--output .*{words}"):
            files.check_new_folder(str(tmp_path / bad), "--output")
    with pytest.raises(UserError, match="--output /proc/x cannot be made"):
        files.make_folder("/proc/x", "--output")
