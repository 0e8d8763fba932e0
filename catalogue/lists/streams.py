"""Reads lists as streams of lines, decompressed and decoded."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.lists.values import UTF_8, ImageList
from catalogue.reasons import Reason, StorageError

_BLOCK = 1 << 16
_END_OF_FILE = "\x1a"  # end-of-file mark of DOS, as the last line


@contextlib.contextmanager
def open_bytes(path: str, *, gzipped: bool = False, encoding: str = UTF_8) -> Iterator[Any]:
    """Open a file as bytes, decompressed if it is gzipped, and converted to UTF-8 if it has another encoding.

    Raises:
        StorageError: the file cannot be read.
        UserError: the file is truncated or damaged. This must end a run, since the rest of the list is unknown.
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
    """Open a list like `open_bytes`, and check before and after the read that the file has not changed.

    The offsets and columns of one version would yield wrong rows from another version.

    Raises:
        StorageError: the file cannot be read.
        UserError: the file is damaged, or was changed or replaced.
    """
    try:
        with open_bytes(found.path, gzipped=found.gzipped, encoding=found.encoding) as file:
            _check_unchanged(found)
            yield file
    except (UserError, StorageError):
        _check_unchanged(found)  # a change is the likely cause if the file looks damaged or is gone
        raise
    _check_unchanged(found)


def _check_unchanged(found: ImageList) -> None:
    if found.version is not None and version_of(found.path) != found.version:
        raise UserError(f"{found.path} changed while it was being read: wait until it is complete, then run again")


def version_of(path: str) -> str | None:
    """Return the version of a list; None if it does not exist, or if its storage has no versions.

    The version of a local file is its size and mtime. Unlike the versions of images, it excludes ctime: a backup that
    creates hard links changes ctime, and must not end a run.

    Raises:
        StorageError: the version cannot be read.
    """
    if storage.is_remote(path):
        status = storage.stat(path)
        return status.version if status else None
    try:
        local = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error
    return f"{local.st_size}-{local.st_mtime_ns}"


def skip(file: Any, count: int) -> None:
    """Skip the first bytes of a newly opened file."""
    if file.seekable():
        file.seek(count)
    else:
        file.read(count)


class _AsUtf8(io.RawIOBase):
    """Text file converted from another encoding to UTF-8. A lone surrogate becomes bytes that are not UTF-8."""

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


class _Window(io.RawIOBase):
    """View of the next bytes of a file, at most `size`, as a raw file. Closing the view does not close the file."""

    def __init__(self, file: Any, size: int | None) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer) if self._left is None else min(len(buffer), self._left))
        buffer[: len(block)] = block
        if self._left is not None:
            self._left -= len(block)
        return len(block)


def lines_of(file: Any, size: int | None = None, *, ends_with_cr: bool = False) -> Iterator[str]:
    """Return the next lines of a file with their line ends. Quotes have no meaning here.

    Bytes that are not UTF-8 become surrogates, so that a bad line does not affect other lines.

    Args:
        file: binary file, at the start of a line. The file may be read beyond the last line that is returned.
        size: maximum number of bytes; None for no limit.
        ends_with_cr: whether a CR alone ends a line, too, not only LF and CR LF.
    """
    window = io.BufferedReader(_Window(file, size), _BLOCK)
    return io.TextIOWrapper(window, UTF_8, "surrogateescape", newline="" if ends_with_cr else "\n")


def size_of(lines: Iterable[str]) -> int:
    """Return the number of bytes of lines from `lines_of`."""
    return sum(len(line.encode(UTF_8, "surrogateescape")) for line in lines)


def line_ends(block: bytes, *, ends_with_cr: bool) -> int:
    """Return the number of line ends in a block of bytes, see `lines_of`."""
    lines = block.count(b"\n")
    return lines + block.count(b"\r") - block.count(b"\r\n") if ends_with_cr else lines


def without_marks(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines without byte order marks at their start and without the end-of-file mark of DOS."""
    for line in lines:
        yield "" if line == _END_OF_FILE else line.lstrip("\ufeff")
