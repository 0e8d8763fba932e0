"""Lists as streams of lines, unpacked and decoded."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.lists.values import Part


@contextlib.contextmanager
def open_bytes(path: str, *, gzipped: bool = False) -> Iterator[Any]:
    """A file's bytes, unpacked if it is gzipped.

    Raises:
        StorageError: it cannot be read.
        UserError: it is cut short or damaged, which must end a run: nobody knows what the rest would have listed.
    """
    with storage.open_file(path) as file:
        if not gzipped:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path} is damaged: {error}") from error


def lines_of(file: Any, part: Part) -> Iterator[bytes]:
    """The lines of a part."""
    left = part.end - part.start if part.end is not None else None
    for line in file:
        yield line
        if left is not None:
            left -= len(line)
            if left <= 0:
                return


def measured(lines: Iterator[bytes], lengths: list[int]) -> Iterator[bytes]:
    """The same lines; their lengths in bytes are appended to `lengths`."""
    for line in lines:
        lengths.append(len(line))
        yield line


def decoded(lines: Iterator[bytes]) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 become surrogates, so that one bad line harms no other."""
    for line in lines:
        yield line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
