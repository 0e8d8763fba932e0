from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import local, operations

MAX = 1 << 20


def reason_of(location: str, max_bytes: int = MAX) -> Reason:
    with pytest.raises(StorageError) as error:
        storage.read(location, max_bytes)
    return error.value.reason


def test_each_failure_has_its_reason(tmp_path: Path) -> None:
    assert reason_of(str(tmp_path / "none.jpg")) is Reason.NOT_FOUND
    assert reason_of(str(tmp_path)) is Reason.NOT_FOUND
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(str(tmp_path / "pipe.jpg")) is Reason.NOT_FOUND  # reading it would block forever
    assert reason_of("/dev/zero") is Reason.NOT_FOUND
    assert reason_of("/nul\0byte.jpg") is Reason.NOT_FOUND
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "file").touch()
    for path in ("loop.jpg", "file/a.jpg", f"{'n' * 300}.jpg"):  # a later run would not find them either
        assert reason_of(str(tmp_path / path)) is Reason.NOT_FOUND


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_must_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").chmod(0)
    assert reason_of(str(tmp_path / "secret.jpg")) is Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(13, "no"), Reason.PERMISSION_DENIED), (OSError(5, "input/output error"), Reason.READ_FAILED)],
)
def test_errors_of_the_file_system(monkeypatch: pytest.MonkeyPatch, error: OSError, reason: Reason) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(local, "open", fail, raising=False)
    assert reason_of(__file__) is reason


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    check = local._check_regular

    def swap(status: os.stat_result, location: str) -> None:
        check(status, location)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        monkeypatch.setattr(local, "_check_regular", check)

    monkeypatch.setattr(local, "_check_regular", swap)
    found: list[Reason] = []
    thread = threading.Thread(target=lambda: found.append(reason_of(str(path))), daemon=True)
    thread.start()
    thread.join(10)
    assert found == [Reason.NOT_FOUND]


def test_a_file_that_grows_meanwhile_is_read_to_the_limit_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 10)

    def grow(size: int) -> None:
        assert size == 10
        path.write_bytes(b"x" * 1000)

    assert len(storage.read(str(path), MAX, admit=grow).data) == 1000  # type: ignore[union-attr]
    path.write_bytes(b"x" * 10)
    with pytest.raises(StorageError) as error:
        storage.read(str(path), 100, admit=grow)
    assert error.value.reason is Reason.TOO_MANY_BYTES


def test_links_are_followed_and_no_folder_is_walked_twice(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("root/a/deep/1.jpg", "root/b/2.jpg", "root/c.jpg", "other/3.jpg", "other/inner/4.jpg"):
        storage.write_text(f"{tmp_path}/{name}", "x")
    storage.write_text(f"{root}/.versions/7/5.jpg", "x")
    links = {
        "current": ".versions/7", "a/again": root, "all": "b", "b/deep": root / "a/deep", "nowhere": "none",
        "itself": "itself", "inner": tmp_path / "other/inner", "other": tmp_path / "other",
        "other again": tmp_path / "other",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = {os.path.relpath(file.location, root): file.size for file in storage.list_files(str(root))}
    assert list(found) == [
        "a/deep/1.jpg", "b/2.jpg", "c.jpg", "current/5.jpg", "inner/4.jpg", "itself", "nowhere", "other/3.jpg"
    ]  # fmt: skip
    assert (found["c.jpg"], found["nowhere"]) == (1, None)
    assert storage.folders(str(root)) == [".versions", "a", "all", "b", "current", "inner", "other", "other again"]


def test_folders_that_all_link_to_each_other_are_walked_once(tmp_path: Path) -> None:
    """There are 1.3 billion paths through twelve such folders that visit no folder twice."""
    for one in range(12):
        storage.write_text(f"{tmp_path}/{one}/{one}.jpg", "x")
        for other in range(12):
            (tmp_path / f"{one}/to {other}").symlink_to(tmp_path / f"{other}")
    found = [os.path.relpath(file.location, tmp_path) for file in storage.list_files(str(tmp_path))]
    assert sorted(found) == sorted(f"{one}/{one}.jpg" for one in range(12))


def test_a_sub_folder_that_cannot_be_listed_is_listed_with_its_error(
    tmp_path: Path, lock: Callable[[Path], None]
) -> None:
    for name in ("a/1.jpg", "locked/2.jpg", "z/3.jpg"):
        storage.write_text(f"{tmp_path}/{name}", "x")
    lock(tmp_path / "locked")
    for pattern in (None, "*/*"):
        found = list(operations.list_all(str(tmp_path), pattern))
        assert [os.path.relpath(file.location, tmp_path) for file in found] == ["a/1.jpg", "locked", "z/3.jpg"]
        assert [file.error and file.error.reason for file in found] == [None, Reason.PERMISSION_DENIED, None]
        with pytest.raises(StorageError, match=r"^permission_denied: the folder cannot be listed"):
            list(storage.list_files(str(tmp_path), pattern))
    assert len(list(operations.list_all(str(tmp_path), "*"))) == 0
    lock(tmp_path)
    with pytest.raises(StorageError, match=r"^permission_denied"):
        next(operations.list_all(str(tmp_path)))


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/a").touch()
    (tmp_path / "link").symlink_to("kept")
    storage.remove(str(tmp_path / "link"))
    assert (tmp_path / "kept/a").exists()
    assert not (tmp_path / "link").exists()


@pytest.mark.parametrize("links", [True, False])
def test_copies_do_not_need_hard_links(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("rows")
    storage.copy(str(tmp_path / "a"), str(tmp_path / "new/part"))
    storage.remove(str(tmp_path / "a"))
    assert (tmp_path / "new/part").read_text() == "rows"


def test_copies_may_be_repeated_and_replace_other_files(tmp_path: Path) -> None:
    """After a repeated copy, source and target are one file with two names: truncating one would empty both."""
    (tmp_path / "a").write_text("rows")
    (tmp_path / "c").write_text("other")
    for target in ("b", "b", "c"):
        storage.copy(str(tmp_path / "a"), str(tmp_path / target))
    assert [(tmp_path / name).read_text() for name in "abc"] == ["rows", "rows", "rows"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_a_copy_whose_name_cannot_be_synced_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a").write_text("rows")
    monkeypatch.setattr("catalogue.storage.local.sync_folder", failing)
    for _ in range(2):  # the second copy finds the link of the first
        with pytest.raises(StorageError, match="Input/output error"):
            storage.copy(str(tmp_path / "a"), str(tmp_path / "b"))


def test_new_files_have_the_permissions_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    storage.write_text(f"{tmp_path}/a", "a")
    with storage.NewFile(f"{tmp_path}/b") as file:
        file.write(b"b")
    assert {(tmp_path / name).stat().st_mode for name in "ab"} == {(tmp_path / "plain").stat().st_mode}


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        storage.write_text(f"{tmp_path}/folder", "x")
    with pytest.raises(StorageError):
        storage.write_text(f"{tmp_path}/folder/../plain/\0", "x")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_link_to_itself_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "b").write_bytes(b"x")
    assert [file.location for file in storage.list_files(str(tmp_path))] == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert storage.folders(str(tmp_path)) == []
    assert reason_of(f"{tmp_path}/a") is Reason.NOT_FOUND


def test_nothing_is_left_of_a_file_that_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "a/in the way").mkdir(parents=True)
    with pytest.raises(StorageError), storage.NewFile(f"{tmp_path}/a") as file:
        file.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_errors_of_an_open_file_have_a_reason() -> None:
    """For example, a network drive may fail while a list on it is being read."""
    with storage.open_file("/proc/self/mem") as file:  # the first page of memory is never mapped
        for read in (file.read, lambda: file.read(10), file.readline):
            with pytest.raises(StorageError, match="Input/output error") as error:
                read()
            assert error.value.reason is Reason.READ_FAILED


def test_a_file_is_created_once_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = str(tmp_path / "lock")
    assert [storage.create(path, word) for word in (b"first", b"second", b"first")] == [True, False, True]
    assert storage.read_bytes(path) == b"first"
    assert os.listdir(tmp_path) == ["lock"]


def test_a_file_that_another_has_created_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").write_text("mine")

    def refuse(*_: object) -> None:
        (tmp_path / "lock").write_bytes(b"another's")
        monkeypatch.setattr(Path, "open", too_many)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def too_many(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        local._linked(tmp_path / "new", tmp_path / "lock")
    assert os.path.exists(tmp_path / "lock")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that flush to disk and those that give a file its name, in order."""
    seen: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def noted_sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        seen.append("sync folder" if os.path.isdir(path) else "sync file")
        fsync(descriptor)

    def noted_replace(source: Any, target: Any) -> None:
        seen.append("name")
        replace(source, target)

    def noted_link(source: Any, target: Any) -> None:
        seen.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "link", noted_link)
    return seen


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to see which files are synced")
def test_content_is_synced_before_the_file_is_renamed_and_the_folder_after_it(tmp_path: Path, calls: list[str]) -> None:
    storage.write_text(str(tmp_path / "a"), "text")
    assert calls == ["sync file", "name", "sync folder"]
    calls.clear()
    assert storage.create(str(tmp_path / "b"), b"token")
    assert calls == ["sync file", "name", "sync folder"]
    calls.clear()
    with storage.NewFile(str(tmp_path / "c")) as file:
        file.write(b"bytes")
    assert calls == ["sync file", "name", "sync folder"]
    calls.clear()
    storage.copy(str(tmp_path / "a"), str(tmp_path / "d"))
    assert calls == ["name", "sync folder"]
