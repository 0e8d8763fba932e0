"""Value types of the storage layer, the `Store` protocol, and helpers that the stores share."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol

from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import Access

UNKNOWN_SIZE = 1 << 20  # assumed size in bytes if a server does not announce one
STALE_SECONDS = 5.0  # a response that waited longer than this for memory is requested again
_BLOCK_BYTES = 1 << 20

Admit = Callable[[int], None]
"""Callback that receives the size in bytes before a read, and blocks until that much memory is available.

A later call for the same read replaces the size; 0 releases the memory.
"""


@dataclasses.dataclass(frozen=True)
class Listed:
    """File or object in a listing, or a folder that cannot be listed.

    Attributes:
        location: local path or URI.
        size: size in bytes; None if unknown.
        version: identifier of the file's state: an ETag, a generation, or size and modification time; None if unknown.
        error: the error, if this is a folder that cannot be listed; None for a file.
    """

    location: str
    size: int | None = None
    version: str | None = None
    error: StorageError | None = None

    def checked(self) -> Listed:
        """Return this entry. Raises StorageError if it is a folder that cannot be listed."""
        if self.error:
            raise self.error
        return self


@dataclasses.dataclass(frozen=True)
class Content:
    """Content of a file or object.

    Attributes:
        data: all bytes.
        version: version of the file, see `Listed`.
        content_hash: SHA-256, hexadecimal.
    """

    data: bytes
    version: str | None
    content_hash: str

    @classmethod
    def of(cls, data: bytes, version: str | None) -> Content:
        """Return the content of `data`, with its hash."""
        return cls(data, version, hashlib.sha256(data).hexdigest())


class Store(Protocol):
    """Interface of a kind of storage. Thread-safe. Every method may raise `StorageError`."""

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """Read a whole file. Return None if its version is `unless`.

        The caller has checked the location against `access`; a store checks redirects.
        """

    def open(self, location: str) -> BinaryIO:
        """Open a seekable file for reading."""

    def stat(self, location: str) -> Listed | None:
        """Return size and version of a file; None if it does not exist."""

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """Yield every file below a folder, recursively, and every folder below it that cannot be listed.

        Files that do not match the glob `pattern` may be omitted.
        """

    def folders(self, folder: str) -> list[str] | None:
        """Return the names of a folder's direct subfolders; None if the folder does not exist."""

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """Write a file atomically. Return False if `only_if_absent` is set and the file exists."""

    def copy(self, source: str, target: str) -> None:
        """Copy a file within this storage."""

    def delete(self, locations: Iterable[str]) -> None:
        """Delete files, ignoring those that do not exist."""

    def close(self) -> None:
        """Close all connections."""


def too_many_bytes(max_bytes: int) -> StorageError:
    """Return the error for a file above the size limit."""
    return StorageError(Reason.TOO_MANY_BYTES, f"more than {max_bytes:,} bytes")


def admitted_size(announced: int | None, max_bytes: int) -> int:
    """Return the number of bytes to admit: the announced size, or an estimate if no size is announced.

    Raises:
        StorageError: the announced size exceeds `max_bytes`.
    """
    if announced is None:
        return min(UNKNOWN_SIZE, max_bytes)
    if announced > max_bytes:
        raise too_many_bytes(max_bytes)
    return announced


def whole(file: BinaryIO | io.RawIOBase, size: int, max_bytes: int) -> bytes:
    """Read a file to its end, even if it has grown beyond `size`.

    Raises:
        StorageError: the file exceeds `max_bytes`, or reading it would block.
    """
    blocks, left, wanted = list[bytes](), max_bytes + 1, min(size, max_bytes) + 1
    while block := _read(file, wanted):
        blocks.append(block)
        left -= len(block)
        if left <= 0:
            raise too_many_bytes(max_bytes)
        wanted = min(left, _BLOCK_BYTES)
    return b"".join(blocks)


def _read(file: BinaryIO | io.RawIOBase, count: int) -> bytes:
    block = file.read(count)
    if block is None:  # reading some system files would block, such as /proc/kmsg
        raise StorageError(Reason.READ_FAILED, "reading would block: the file has no more data yet and has not ended")
    return block


class Admission:
    """Memory admission for one read: several requests that announce the same size are admitted once.

    An open response may go stale while it waits for memory. It must then be requested again before its body is read.

    Args:
        admit: callback that waits for memory, see `Admit`.
        max_bytes: size limit of the read.
    """

    def __init__(self, admit: Admit, max_bytes: int) -> None:
        self._admit, self._max_bytes = admit, max_bytes
        self._admitted: int | None = None

    def is_fresh_after(self, announced: int | None) -> bool:
        """Admit a response of the announced size. Return False if the response is stale after the wait.

        Raises:
            StorageError: the announced size exceeds `max_bytes`.
        """
        size = admitted_size(announced, self._max_bytes)
        if size == self._admitted:
            return True
        start = time.monotonic()
        self._admit(size)
        self._admitted = size
        return time.monotonic() - start < STALE_SECONDS
