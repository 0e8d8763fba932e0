"""The records of CSV files, with quotes that span lines, quotes that are never closed, and cells that are too long."""

from __future__ import annotations

import collections
import csv
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from catalogue.lists.values import BATCH_ROWS

MAX_CELL = 16 * 2**20
"""Characters that a cell may have."""

NOT_CLOSED = "not CSV, a quote is not closed or has text after it"
TOO_LONG = f"a cell has more than {MAX_CELL:,} characters"

_AHEAD_CHARACTERS = 4 * 2**20

csv.field_size_limit(MAX_CELL)  # of this process: the default of 131,072 is less than a shop's descriptions may have


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line, stripped; none if it is not CSV."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


class CsvRecord(NamedTuple):
    """A record of a CSV.

    Attributes:
        lines: how many lines it has.
        cells: of the record; none for a blank line, and if it cannot be read.
        problem: why it cannot be read; empty if it can.
        start: the first line of a record that cannot be read.
    """

    lines: int
    cells: list[str]
    problem: str = ""
    start: str = ""


def csv_records(lines: Iterable[str], delimiter: str) -> Iterator[CsvRecord]:
    """The records of a CSV.

    A quote that is never closed would swallow all lines after it. Its line becomes a record that cannot be read, and
    the lines after it are read again. A record with a cell above `MAX_CELL` cannot be read either, with all its lines.
    """
    source = _Lines(lines)
    while ahead := source.ahead(BATCH_ROWS):
        whole = 0
        reader = csv.reader(ahead, delimiter=delimiter, strict=True)
        try:
            for cells in reader:  # as long as each line is a record
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
    """Lines that can be looked at ahead, and given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._ahead: collections.deque[str] = collections.deque()

    def __next__(self) -> str:
        return self._ahead.popleft() if self._ahead else next(self._lines)

    def ahead(self, count: int) -> collections.deque[str]:
        """The next lines: `count` of them, or fewer if they are long, or the last."""
        size = sum(map(len, self._ahead)) if len(self._ahead) < count else 0
        while len(self._ahead) < count and size < _AHEAD_CHARACTERS:
            line = next(self._lines, None)
            if line is None:
                break
            self._ahead.append(line)
            size += len(line)
        return self._ahead

    def drop(self, count: int) -> None:
        """Goes past some of the lines that were looked at ahead."""
        for _ in range(count):
            self._ahead.popleft()

    def give_back(self, lines: list[str], more: Iterable[str] = ()) -> None:
        """Puts lines, and more of them that are not in memory, before all others."""
        if more:
            self._lines = itertools.chain(more, self._ahead, self._lines)
            self._ahead = collections.deque()
        self._ahead.extendleft(reversed(lines))


def _one_record(source: _Lines, delimiter: str) -> CsvRecord:
    """A record that has several lines, or cannot be read; the lines that it does not take go back to `source`."""
    taken: list[str] = []
    try:
        cells = next(csv.reader(_remembered(source, taken), delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "field limit" in str(error):
            return _too_long(source, taken, delimiter)
        source.give_back(taken[1:])
        return CsvRecord(1, [], NOT_CLOSED, taken[0])
    return CsvRecord(len(taken), cells)


def _too_long(source: _Lines, taken: list[str], delimiter: str) -> CsvRecord:
    """A record with a cell that is too long: it ends where its quotes are closed.

    Args:
        source: the lines after `taken`. They are kept in a file: only a later one may show that a quote is not closed.
        taken: the first lines of the record.
        delimiter: of the cells.
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
    """Lines that are kept in memory, or in a temporary file if they are many, which is closed with this object."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(
            MAX_CELL, "w+", encoding="utf-8", errors="surrogateescape", newline="\n"
        )

    def append(self, line: str) -> None:
        """Adds a line after the others."""
        self._file.write(line)

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        yield from self._file

    def __del__(self) -> None:
        self._file.close()


def _opens_a_quote(line: str, delimiter: str) -> bool:
    """Whether a line within quotes has one that text follows: it opens a cell, and the quotes before never close."""
    if '"' not in line:
        return False
    try:
        next(csv.reader([f'"{line}'], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "expected after" in str(error)
    return False


def _remembered(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """The same lines, each appended to `taken`."""
    for line in lines:
        taken.append(line)
        yield line
