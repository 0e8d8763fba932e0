"""The values that the storage layer takes and gives, and what every kind of storage can do."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol

from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import Access
from catalogue.storage.deadline import some_deadline

UNKNOWN_SIZE = 1 << 20  # bytes, where a server does not announce a size
STALE_SECONDS = 5.0  # a response that has waited longer is requested again
_LEAST_BLOCK_BYTES, _BLOCK_BYTES = 1 << 10, 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"

Admit = Callable[[int], None]
"""Is told how many bytes are about to be read, and returns when there is room for them; 0 gives the room back."""


@dataclasses.dataclass(frozen=True)
class Listed:
    """A file or object in a listing.

    Attributes:
        location: a local path, or a URI.
        size: in bytes; None where the listing does not say.
        version: identifies its state: an ETag, a generation, or size and modification time; None where unknown.
    """

    location: str
    size: int | None = None
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class Content:
    """The bytes of a file or object.

    Attributes:
        data: all of them.
        version: see `Listed`.
        content_hash: SHA-256, hexadecimal.
    """

    data: bytes
    version: str | None
    content_hash: str

    @classmethod
    def of(cls, data: bytes, version: str | None) -> Content:
        """Hashes the bytes."""
        return cls(data, version, hashlib.sha256(data).hexdigest())


class Store(Protocol):
    """A kind of storage. Safe to use from several threads. Every method may raise `StorageError`."""

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """Reads a whole file; None if its version is `unless`. `access` permits the location itself."""

    def open(self, location: str) -> BinaryIO:
        """Opens a file for reading from any position."""

    def stat(self, location: str) -> Listed | None:
        """Size and version of a file; None if there is no such file."""

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """Every file below a folder; a storage that can leaves out those that do not match a glob below it."""

    def folders(self, folder: str) -> list[str] | None:
        """The names of the folders directly in a folder; None if there is no such folder."""

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """Writes a file, all of it or nothing. Returns False if it had to be absent and is not."""

    def copy(self, source: str, target: str) -> None:
        """Copies a file within this storage."""

    def delete(self, locations: Iterable[str]) -> None:
        """Deletes files; those that are gone already are left out."""

    def close(self) -> None:
        """Closes its connections."""


def too_many_bytes(max_bytes: int) -> StorageError:
    """The error for a file above the limit."""
    return StorageError(Reason.TOO_MANY_BYTES, f"more than {max_bytes:,} bytes")


def admitted_size(announced: int | None, max_bytes: int) -> int:
    """The number of bytes to admit: the announced size, or a guess without one.

    Raises:
        StorageError: there are more than `max_bytes`.
    """
    if announced is None:
        return min(UNKNOWN_SIZE, max_bytes)
    if announced > max_bytes:
        raise too_many_bytes(max_bytes)
    return announced


def whole(file: BinaryIO | io.RawIOBase, size: int, max_bytes: int) -> bytes:
    """All of a file, which may have grown beyond its size.

    Raises:
        StorageError: there are more than `max_bytes`.
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
    if block is None:  # some files of the system would block, such as /proc/kmsg
        raise StorageError(Reason.READ_FAILED, "it has no more bytes now, and no end")
    return block


class Admission:
    """Admits the bytes of one read, once, even if the read takes several requests.

    Waiting for room can take longer than a server or a client keeps a response open. Such a response must be requested
    again before its body is read.

    Args:
        admit: waits for room, see `Admit`.
        max_bytes: the limit of the read.
    """

    def __init__(self, admit: Admit, max_bytes: int) -> None:
        self._admit, self._max_bytes = admit, max_bytes
        self._admitted: int | None = None

    def is_fresh_after(self, announced: int | None) -> bool:
        """Admits a response of the announced size. Returns False if the response has waited for too long.

        Raises:
            StorageError: there are more than `max_bytes`.
        """
        size = admitted_size(announced, self._max_bytes)
        if size == self._admitted:
            return True
        start = time.monotonic()
        self._admit(size)
        self._admitted = size
        return time.monotonic() - start < STALE_SECONDS


def without_gzip(data: bytes, max_bytes: int) -> bytes:
    """The content of an object that is stored with ``Content-Encoding: gzip``; as it is if that header is wrong.

    Raises:
        StorageError: it has more than `max_bytes` unpacked, or is damaged.
    """
    if not data.startswith(_GZIP_MAGIC):
        return data
    unpacked, start = bytearray(), 0
    with some_deadline() as deadline:  # a file may consist of millions of empty members
        while data.startswith(_GZIP_MAGIC, start):  # members, which may follow one another
            start = _unpack_member(data, start, unpacked, max_bytes)
            deadline.check()
    return bytes(unpacked)


def _unpack_member(data: bytes, start: int, unpacked: bytearray, max_bytes: int) -> int:
    """Adds what a member of a gzip file holds to `unpacked`. Returns where it ends."""
    unpacker, size = zlib.decompressobj(wbits=31), _LEAST_BLOCK_BYTES
    while not unpacker.eof:
        block, size = data[start : start + size], min(2 * size, _BLOCK_BYTES)
        if not block:
            raise StorageError(Reason.READ_FAILED, "its Content-Encoding is gzip, and it is cut short")
        try:
            unpacked += unpacker.decompress(block, max_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise StorageError(
                Reason.READ_FAILED, f"its Content-Encoding is gzip, and it is damaged: {error}"
            ) from error
        if len(unpacked) > max_bytes:
            raise too_many_bytes(max_bytes)
        start += len(block) - len(unpacker.unused_data)
    return start


def is_gzip(content_encoding: str | None) -> bool:
    """Whether a ``Content-Encoding`` is gzip. Source: RFC 9110, 8.4.1."""
    return (content_encoding or "").strip().lower() in ("gzip", "x-gzip")
