"""Reads lists as streams of lines, decompressed and decoded."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.lists.values import UTF_8, ImageList, Part
from catalogue.reasons import StorageError

_BLOCK = 1 << 16
_END_OF_FILE = b"\x1a"  # end-of-file mark of DOS, as the last line


@contextlib.contextmanager
def open_bytes(path: str, *, gzipped: bool = False, encoding: str = UTF_8) -> Iterator[Any]:
    """Open a file as bytes, decompressed if it is gzipped, and as UTF-8 if it is text in another encoding.

    Raises:
        StorageError: the file cannot be read.
        UserError: the file is truncated or damaged, which must end a run: the rest of the list is unknown.
    """
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(storage.open_file(path))
        if not gzipped and encoding == UTF_8:
            yield file
            return
        if gzipped:
            file = stack.enter_context(gzip.GzipFile(fileobj=file))
        if encoding != UTF_8:
            file = stack.enter_context(io.BufferedReader(_AsUtf8(file, encoding)))
        try:
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
            raise UserError(f"{path} is truncated or damaged ({error}): replace the file") from error


@contextlib.contextmanager
def open_list(found: ImageList) -> Iterator[Any]:
    """Open a list like `open_bytes`, and check before and after the read that it is the file that was recognized.

    The offsets and columns of one file would yield wrong rows of another.

    Raises:
        StorageError: the file cannot be read.
        UserError: the file is damaged, or was changed or replaced.
    """
    try:
        with open_bytes(found.path, gzipped=found.gzipped, encoding=found.encoding) as file:
            _check_unchanged(found)
            yield file
    except (UserError, StorageError):
        _check_unchanged(found)  # the better reason for what looks damaged or is gone
        raise
    _check_unchanged(found)


def _check_unchanged(found: ImageList) -> None:
    if found.version is None:
        return
    status = storage.stat(found.path)
    if status is None or status.version != found.version:
        raise UserError(f"{found.path} changed while it was read: wait until it is complete, then run again")


def skip(file: Any, count: int) -> None:
    """Skip the first bytes of a newly opened file."""
    if file.seekable():
        file.seek(count)
    else:
        file.read(count)


class _AsUtf8(io.RawIOBase):
    """A text file in another encoding, as UTF-8; a lone surrogate becomes bytes that are not UTF-8."""

    def __init__(self, file: Any, encoding: str) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._waiting, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting and not self._ended:
            block = self._file.read(_BLOCK)
            self._ended = not block
            self._waiting = self._decoder.decode(block, self._ended).encode(UTF_8, "surrogatepass")
        given = self._waiting[: len(buffer)]
        buffer[: len(given)] = given
        self._waiting = self._waiting[len(given) :]
        return len(given)


def lines_of(file: Any, part: Part) -> Iterator[bytes]:
    """Yield the lines of a part."""
    left = part.end - part.start if part.end is not None else None
    for line in file:
        yield line
        if left is not None:
            left -= len(line)
            if left <= 0:
                return


def measured(lines: Iterator[bytes], lengths: list[int]) -> Iterator[bytes]:
    """Yield the same lines, and append their lengths in bytes to `lengths`."""
    for line in lines:
        lengths.append(len(line))
        yield line


def decoded(lines: Iterator[bytes]) -> Iterator[str]:
    """Yield lines as text; bytes that are not UTF-8 become surrogates, so that a bad line affects no other."""
    for line in lines:
        yield "" if line == _END_OF_FILE else line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
