"""File systems that only Beam supports, such as ``hdfs://``. A file system on a local folder stands in for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from catalogue import storage
from catalogue.reasons import Reason, StorageError

FOLDER: list[Path] = []


class ElsewhereFileSystem(LocalFileSystem):
    """File system for ``elsewhere://``, which is a local folder. Beam discovers this class automatically."""

    @classmethod
    def scheme(cls) -> str:
        return "elsewhere"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *paths))

    def match(self, patterns: list[str], limits: Any = None) -> Any:
        found = super().match([self.path(pattern) for pattern in patterns], limits)
        for result in found:
            for file in result.metadata_list:
                file.path = f"elsewhere:/{file.path.removeprefix(str(FOLDER[0]))}"
        return found

    def create(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().create(self.path(path), *arguments, **options)

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().open(self.path(path), *arguments, **options)

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            shutil.rmtree(self.path(path)) if os.path.isdir(self.path(path)) else os.unlink(self.path(path))

    def path(self, location: str) -> str:
        return location.replace("elsewhere:/", str(FOLDER[0]))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    FOLDER.append(tmp_path)
    yield "elsewhere://runs"
    FOLDER.clear()


def test_files_are_written_listed_read_copied_and_removed(root: str) -> None:
    storage.write_bytes(f"{root}/a.gz", b"\x1f\x8bdata")  # Beam would decompress this because of its name
    storage.copy(f"{root}/a.gz", f"{root}/deep/b")
    assert sorted(file.location for file in storage.list_files(root)) == [f"{root}/a.gz", f"{root}/deep/b"]
    assert storage.folders(root) == ["deep"]
    assert [storage.is_file(f"{root}{path}") for path in ("", "/deep", "/a.gz", "/none")] == [False, False, True, False]
    assert storage.read_bytes(f"{root}/deep/b") == b"\x1f\x8bdata"
    assert storage.create(f"{root}/lock", b"first")
    assert not storage.create(f"{root}/lock", b"second")
    storage.remove(root)
    assert not storage.exists(root)


def test_listings_and_reads_agree_on_the_version(root: str) -> None:
    told: list[int] = []
    storage.write_bytes(f"{root}/a.jpg", bytes(1000))
    (listed,) = storage.list_files(root)
    content = storage.read(f"{root}/a.jpg", 1000, admit=told.append)
    assert content is not None
    assert (content.version, told) == (listed.version, [1000])
    assert storage.read(f"{root}/a.jpg", 1000, unless=listed.version) is None
    with pytest.raises(StorageError) as error:
        storage.read(f"{root}/a.jpg", 999)
    assert error.value.reason is Reason.TOO_MANY_BYTES
    with pytest.raises(StorageError) as error:
        storage.read(f"{root}/none.jpg", 999)
    assert error.value.reason is Reason.NOT_FOUND


def test_files_are_read_from_any_position(root: str) -> None:
    content = os.urandom(3 << 20)
    storage.write_bytes(f"{root}/list", content)
    with storage.open_file(f"{root}/list") as file:
        assert file.seek(2_500_000) == 2_500_000
        assert file.read(700_000) == content[2_500_000:]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(777_777), b"")) == content


def test_errors_of_an_open_file_have_a_reason(root: str) -> None:
    (FOLDER[0] / "runs").mkdir()
    (FOLDER[0] / "runs/list").symlink_to("/proc/self/mem")
    with pytest.raises(StorageError, match="Input/output error") as error:
        storage.read_bytes(f"{root}/list")
    assert error.value.reason is Reason.READ_FAILED
