"""Reads CSV records, and handles quoted cells that span lines, quotes that are never closed, and overlong cells."""

from __future__ import annotations

import collections
import csv
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from catalogue.lists.values import BATCH_ROWS

MAX_CELL = 16 * 2**20
"""Maximum number of characters in a cell."""

NOT_CLOSED = "invalid CSV, a quote is not closed or is followed by text"
STRAY_RETURN = "a carriage return outside quotes, in a list whose lines end with line feeds"
TOO_LONG = f"a cell has more than {MAX_CELL:,} characters"

_AHEAD_CHARACTERS = 4 * 2**20

# The default of 131,072 characters is too small for some product descriptions. The limit applies to the whole process.
csv.field_size_limit(MAX_CELL)


class CsvRecord(NamedTuple):
    """A record of a CSV.

    Attributes:
        lines: number of lines.
        cells: cells of the record; empty for a blank line and for an unreadable record.
        problem: reason why the record is unreadable; empty otherwise.
        start: first line of an unreadable record.
    """

    lines: int
    cells: list[str]
    problem: str = ""
    start: str = ""


def csv_records(lines: Iterable[str], delimiter: str) -> Iterator[CsvRecord]:
    """Yield the records of a CSV.

    A quote that is never closed would swallow all lines after it. Therefore only the first line of such a record is
    unreadable, and the lines after that are parsed again. A record with a cell longer than `MAX_CELL` is unreadable,
    too, with all its lines.
    """
    source = _Lines(lines)
    while ahead := source.ahead(BATCH_ROWS):
        whole = 0
        reader = csv.reader(ahead, delimiter=delimiter, strict=True)
        try:
            for cells in reader:  # until a record spans several lines
                if reader.line_num > whole + 1:
                    break
                whole += 1
                yield CsvRecord(1, cells)
        except csv.Error:
            pass
        source.drop(whole)
        if source.ahead(1):
            yield _one_record(source, delimiter)


class _Lines(Iterator[str]):
    """Iterator over lines with lookahead and pushback."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._ahead: collections.deque[str] = collections.deque()

    def __next__(self) -> str:
        return self._ahead.popleft() if self._ahead else next(self._lines)

    def ahead(self, count: int) -> collections.deque[str]:
        """Return the lookahead lines, at least `count` of them unless the lines are long or the input ends."""
        size = sum(map(len, self._ahead)) if len(self._ahead) < count else 0
        while len(self._ahead) < count and size < _AHEAD_CHARACTERS:
            line = next(self._lines, None)
            if line is None:
                break
            self._ahead.append(line)
            size += len(line)
        return self._ahead

    def drop(self, count: int) -> None:
        """Skip the first `count` of the lines ahead."""
        for _ in range(count):
            self._ahead.popleft()

    def give_back(self, lines: list[str], more: Iterable[str] = ()) -> None:
        """Put lines back in front of all others, followed by the lines of `more`, which need not be in memory."""
        if more:
            self._lines = itertools.chain(more, self._ahead, self._lines)
            self._ahead = collections.deque()
        self._ahead.extendleft(reversed(lines))


def _one_record(source: _Lines, delimiter: str) -> CsvRecord:
    """Return a record that has several lines or is unreadable; unused lines go back to `source`."""
    taken: list[str] = []
    try:
        cells = next(csv.reader(_remembered(source, taken), delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "field limit" in str(error):
            return _too_long(source, taken, delimiter)
        source.give_back(taken[1:])
        if len(taken) > 1 or "expected" in str(error):  # the lines after the first may be other records
            problem = NOT_CLOSED
        elif "new-line character" in str(error):
            problem = STRAY_RETURN
        else:
            problem = f"invalid CSV, {error}"  # a null byte, before Python 3.11
        return CsvRecord(1, [], problem, taken[0])
    return CsvRecord(len(taken), cells)


def _too_long(source: _Lines, taken: list[str], delimiter: str) -> CsvRecord:
    """Return a record with an overlong cell. The record ends where its quotes are closed.

    Args:
        source: lines after `taken`. They are kept until the quotes are closed, since a later line may show that a quote
            is never closed.
        taken: first lines of the record.
        delimiter: delimiter of the cells.
    """
    if len(taken) > 1 and _opens_a_quote(taken[-1], delimiter):
        source.give_back(taken[1:])
        return CsvRecord(1, [], NOT_CLOSED, taken[0])
    quotes, more, kept = sum(line.count('"') for line in taken), 0, _KeptLines()
    while quotes % 2:
        line = next(source, None)
        kept.append(line or "")
        if line is None or _opens_a_quote(line, delimiter):
            source.give_back(taken[1:], kept)
            return CsvRecord(1, [], NOT_CLOSED, taken[0])
        quotes += line.count('"')
        more += 1
    return CsvRecord(len(taken) + more, [], TOO_LONG, taken[0])


class _KeptLines:
    """Lines kept in memory, or in a temporary file if there are many. The file is closed with this object."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(
            MAX_CELL, "w+", encoding="utf-8", errors="surrogateescape", newline=""
        )

    def append(self, line: str) -> None:
        """Append a line."""
        self._file.write(line)

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        yield from self._file

    def __del__(self) -> None:
        self._file.close()


def _opens_a_quote(line: str, delimiter: str) -> bool:
    """Return whether a line that begins within quotes has a quote directly before text.

    Such a quote can only open a cell, so the quote before this line is never closed.
    """
    if '"' not in line:
        return False
    try:
        next(csv.reader([f'"{line}'], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "expected after" in str(error)
    return False


def _remembered(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """Yield the lines unchanged, and append each to `taken`."""
    for line in lines:
        taken.append(line)
        yield line
