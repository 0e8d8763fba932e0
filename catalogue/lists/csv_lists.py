"""The records of CSV files, with quotes that span lines, or are never closed."""

from __future__ import annotations

import collections
import csv
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from catalogue.lists.values import BATCH_ROWS


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line, stripped; none if it is not CSV."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


class CsvRecord(NamedTuple):
    """A record of a CSV and how many lines it has; no cells for a blank line; or one line that is not a record."""

    lines: int
    cells: list[str]
    wrong: str = ""


def csv_records(lines: Iterator[str], delimiter: str) -> Iterator[CsvRecord]:
    """The records of a CSV.

    A line with a quote that is never closed would swallow all lines after it. It becomes an error of its own, and the
    lines after it are read again.
    """
    waiting: collections.deque[str] = collections.deque()
    while True:
        waiting.extend(itertools.islice(lines, max(0, BATCH_ROWS - len(waiting))))
        if not waiting:
            return
        whole = 0
        reader = csv.reader(waiting, delimiter=delimiter, strict=True)
        try:
            for cells in reader:  # as long as each line is a record
                if reader.line_num > whole + 1:
                    break
                whole += 1
                yield CsvRecord(1, cells)
        except csv.Error:
            pass
        for _ in range(whole):
            waiting.popleft()
        if waiting:
            yield _one_record(waiting, lines, delimiter)


def _one_record(waiting: collections.deque[str], lines: Iterator[str], delimiter: str) -> CsvRecord:
    """A record that has several lines, or none; what it does not take stays in `waiting`, or goes back there."""
    taken: list[str] = []
    try:
        cells = next(csv.reader(_taking(taken, waiting, lines), delimiter=delimiter, strict=True))
    except csv.Error:
        waiting.extendleft(reversed(taken[1:]))
        return CsvRecord(1, [], taken[0])
    return CsvRecord(len(taken), cells)


def _taking(taken: list[str], waiting: collections.deque[str], lines: Iterator[str]) -> Iterator[str]:
    """The lines of `waiting`, then those of `lines`, each remembered in `taken`."""
    while True:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        taken.append(line)
        yield line
