"""One contract for the local disk and every object store; each store is a server on loopback."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.reasons import Reason, StorageError
from catalogue.storage import globs

MAX = 1 << 20


@pytest.fixture(params=["local", "gs", "s3", "az"])
def root(request: pytest.FixtureRequest, tmp_path: Path, open_object_store: Callable[[str], Any]) -> str:
    """A folder in each kind of storage."""
    if request.param == "local":
        return str(tmp_path / "runs [1]*?")  # Beam would take this for a pattern
    return open_object_store(request.param).root


def names(folder: str, pattern: str = "") -> list[str]:
    found = globs.matches(f"{folder}/{pattern}") if pattern else storage.list_files(folder)
    return sorted(file.location.removeprefix(f"{folder}/") for file in found)


def read(location: str, **options: Any) -> storage.Content:
    content = storage.read(location, MAX, **options)
    assert content is not None
    return content


def reason_of(location: str, max_bytes: int = MAX) -> Reason:
    with pytest.raises(StorageError) as error:
        storage.read(location, max_bytes)
    return error.value.reason


def test_files_are_written_listed_read_and_removed(root: str) -> None:
    storage.write_text(f"{root}/deep/er/a.txt", "ä")
    storage.write_bytes(f"{root}/b.gz", b"\x1f\x8bdata")  # Beam would decompress this because of its name
    storage.write_bytes(f"{root}/empty", b"")
    assert names(root) == ["b.gz", "deep/er/a.txt", "empty"]
    assert storage.folders(root) == ["deep"]
    assert storage.read_text(f"{root}/deep/er/a.txt") == "ä"
    assert read(f"{root}/b.gz").data == b"\x1f\x8bdata"
    assert read(f"{root}/empty").data == b""
    assert [storage.exists(f"{root}{path}") for path in ("", "/deep", "/b.gz", "/none", "/b")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert [storage.is_file(f"{root}/{path}") for path in ("deep", "b.gz", "none")] == [False, True, False]
    storage.write_text(f"{root}/b.gz", "replaced")
    assert storage.read_text(f"{root}/b.gz") == "replaced"
    storage.remove(f"{root}/deep")
    assert names(root) == ["b.gz", "empty"]
    storage.remove(root)
    storage.remove(root)
    assert not storage.exists(root)
    assert storage.folders(root) is None


def test_a_folder_does_not_hold_files_of_one_whose_name_begins_alike(root: str) -> None:
    storage.write_text(f"{root}/photos/a", "a")
    storage.write_text(f"{root}/photos2/b", "b")
    assert names(f"{root}/photos") == ["a"]
    storage.remove(f"{root}/photos")
    assert names(root) == ["photos2/b"]


def test_listings_and_reads_agree_on_the_version(root: str) -> None:
    location = f"{root}/a.jpg"
    storage.write_bytes(location, b"first")
    (listed,) = storage.list_files(root)
    content = read(location)
    assert (listed.location, listed.size) == (location, 5)
    assert listed.version == content.version == storage.stat(location).version  # type: ignore[union-attr]
    assert content.content_hash == hashlib.sha256(b"first").hexdigest()
    assert storage.read(location, MAX, unless=listed.version) is None
    storage.write_bytes(location, b"second")
    again = storage.read(location, MAX, unless=listed.version)
    assert again is not None
    assert (again.data, again.version != listed.version) == (b"second", True)
    assert reason_of(f"{root}/none.jpg") is Reason.NOT_FOUND


def test_the_size_is_told_before_the_bytes_come_and_limited(root: str) -> None:
    location, told = f"{root}/a.jpg", list[int]()
    storage.write_bytes(location, bytes(1000))
    assert len(read(location, admit=told.append).data) == 1000
    assert told == [1000]
    assert reason_of(location, max_bytes=999) is Reason.TOO_MANY_BYTES
    assert len(storage.read(location, 1000).data) == 1000  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["a b#1?.jpg", "b%20~+ü.jpg", "=5%&\"'.jpg", "スカート/a.jpg"])
def test_names_are_taken_letter_for_letter(root: str, name: str) -> None:
    storage.write_text(f"{root}/{name}", name)
    assert read(f"{root}/{name}").data.decode() == name
    assert names(root) == [name]


def test_a_name_with_half_a_character_is_refused(root: str) -> None:
    assert reason_of(f"{root}/\ud800.jpg") is Reason.READ_FAILED


def test_only_the_first_creation_of_a_file_succeeds(root: str) -> None:
    assert [storage.create(f"{root}/lock", word) for word in (b"first", b"second", b"third")] == [True, False, False]
    assert storage.read_bytes(f"{root}/lock") == b"first"


def test_a_new_file_is_there_once_it_is_committed(root: str) -> None:
    file = storage.NewFile(f"{root}/new/rows")
    file.write(b"one ")
    assert not storage.exists(f"{root}/new/rows")
    file.write(b"two")
    assert file.tell() == 7
    file.commit()
    assert storage.read_bytes(f"{root}/new/rows") == b"one two"
    given_up = storage.NewFile(f"{root}/new/given-up")
    given_up.write(b"half a")
    given_up.close()
    del file, given_up
    assert names(root) == ["new/rows"]


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was_at_one_moment(root: str) -> None:
    """For example, a run rewrites its lock while other runs read it."""
    contents = {bytes([ord("a") + n]) * (100 + n) for n in range(20)}
    storage.write_bytes(f"{root}/lock", b"a" * 100)
    done = threading.Event()

    def rewrite() -> None:
        while not done.is_set():
            for content in contents:
                storage.write_bytes(f"{root}/lock", content)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(rewrite)
        try:
            assert {storage.read_bytes(f"{root}/lock") for _ in range(100)} <= contents
        finally:
            done.set()
        writing.result()


def test_copies_go_anywhere(root: str, tmp_path: Path) -> None:
    large = os.urandom(9 << 20)  # more than one part of a multipart upload
    (tmp_path / "a.bin").write_bytes(large)
    storage.copy(str(tmp_path / "a.bin"), f"{root}/there")
    storage.copy(f"{root}/there", f"{root}/deep/again")
    storage.copy(f"{root}/deep/again", str(tmp_path / "back/b.bin"))
    assert (tmp_path / "back/b.bin").read_bytes() == large
    storage.remove(f"{root}/there")
    assert storage.read_bytes(f"{root}/deep/again") == large


def test_files_are_read_from_any_position(root: str) -> None:
    content = os.urandom(5 << 20)
    storage.write_bytes(f"{root}/list", content)
    with storage.open_file(f"{root}/list") as file:
        assert file.seek(4_500_000) == 4_500_000
        assert file.read(700_000) == content[4_500_000:5_200_000]
        file.seek(-3, os.SEEK_END)
        assert file.read() == content[-3:]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(777_777), b"")) == content
    with pytest.raises(StorageError) as error:
        storage.open_file(f"{root}/none")
    assert error.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", {"a.jpg"}),
        ("**/*.jpg", {"a.jpg", "deep/e.jpg", "deep/er/c.jpg"}),
        ("**.jpg", {"a.jpg", "deep/e.jpg", "deep/er/c.jpg"}),
        ("deep/**", {"deep/e.jpg", "deep/er/c.jpg"}),
        ("deep/.cache/**", {"deep/.cache/d.jpg"}),
        ("**/.cache/*", {"deep/.cache/d.jpg"}),
        ("deep/*/c.jpg", {"deep/er/c.jpg"}),
        ("?.jpg", {"a.jpg"}),
        ("[ab].*", {"a.jpg", "b.PNG"}),
        ("[!a].*", {"b.PNG"}),
        (".*.jpg", {".hidden.jpg"}),
        ("{a,b}*", {"{a,b}.txt"}),
    ],
)
def test_globs_mean_the_same_everywhere(root: str, pattern: str, expected: set[str]) -> None:
    for name in ("a.jpg", "b.PNG", ".hidden.jpg", "deep/er/c.jpg", "deep/.cache/d.jpg", "deep/e.jpg", "{a,b}.txt"):
        storage.write_bytes(f"{root}/{name}", b"x")
    folder = root.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
    found = {file.location.removeprefix(f"{root}/") for file in globs.matches(f"{folder}/{pattern}")}
    assert found == expected


def test_a_new_folder_is_one_that_is_not_there_or_empty(root: str) -> None:
    storage.check_new_folder(f"{root}/new", "--output")
    storage.write_text(f"{root}/full/a", "a")
    with pytest.raises(UserError, match=r"--output .* exists: choose another folder"):
        storage.check_new_folder(f"{root}/full", "--output")


def test_where_a_local_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    storage.check_new_folder(str(tmp_path / "empty"), "--output")
    for bad, words in (("file", "exists"), ("file/below", "cannot be created in")):
        with pytest.raises(UserError, match=f"--output .*{words}"):
            storage.check_new_folder(str(tmp_path / bad), "--output")
    with pytest.raises(UserError, match="--output /proc/x cannot be created"):
        storage.make_folder("/proc/x", "--output")
