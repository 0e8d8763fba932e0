"""Splits lists into parts that workers read as streams: Parquet by row groups, others at line ends every 16 MiB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from catalogue.cli.text import counted
from catalogue.lists.csv_lists import csv_records
from catalogue.lists.json_rows import parsed
from catalogue.lists.parquet_lists import open_parquet, parquet_records
from catalogue.lists.streams import line_ends, lines_of, open_list, skip, without_marks
from catalogue.lists.values import CSV, IMAGE, JSON_LINES, PARQUET, UTF_8, ImageList, ListColumns, Part, Record

PART_BYTES = 16 * 2**20


def parts(found: ImageList) -> Iterator[Part]:
    """Yield the parts of a list, or the whole list if it cannot be split."""
    if found.kind == IMAGE or found.gzipped or found.encoding != UTF_8:
        yield Part(found, found.start, None, found.line)
    elif found.kind == PARQUET:
        with open_list(found) as file:
            metadata = open_parquet(file, found.path).metadata
        row = 1
        for group in range(metadata.num_row_groups):
            yield Part(found, group, None, row)
            row += metadata.row_group(group).num_rows
    else:
        yield from _line_parts(found)


def _line_parts(found: ImageList) -> Iterator[Part]:
    position, line = found.start, found.line
    with open_list(found) as file:
        while True:
            file.seek(position)
            block = file.read(PART_BYTES)
            if not block:
                return
            block += next(lines_of(file, ends_with_cr=found.ends_with_cr), "").encode(UTF_8, "surrogateescape")
            size, lines = len(block), line_ends(block, ends_with_cr=found.ends_with_cr)
            if found.kind == CSV and b'"' in block:
                file.seek(position)
                size, lines = _whole_records(file, found, size)
            yield Part(found, position, position + size, line)
            position, line = position + size, line + lines


def _whole_records(file: Any, found: ImageList, least: int) -> tuple[int, int]:
    """Return the size, in bytes and in lines, of the records that begin in the next `least` bytes."""
    ends: list[int] = []
    lines = 0
    source = lines_of(file, ends_with_cr=found.ends_with_cr)
    for record in csv_records(without_marks(_measured(source, ends)), found.delimiter):
        lines += record.lines
        if ends[lines - 1] >= least:
            break
    return ends[lines - 1], lines


def _measured(lines: Iterable[str], ends: list[int]) -> Iterator[str]:
    """Yield the lines unchanged, and append the byte offset of each line's end to `ends`."""
    end = 0
    for line in lines:
        end += len(line) if line.isascii() else len(line.encode(UTF_8, "surrogateescape"))
        ends.append(end)
        yield line


def records(part: Part, columns: ListColumns) -> Iterator[Record]:
    """Yield the records of a part, except blank lines. The list must not be of the kind `IMAGE`."""
    if part.list.kind == PARQUET:
        yield from parquet_records(part, columns)
    else:
        with open_list(part.list) as file:
            skip(file, part.start)
            size = None if part.end is None else part.end - part.start
            lines = without_marks(lines_of(file, size, ends_with_cr=part.list.ends_with_cr))
            if part.list.kind == CSV:
                yield from _rows(lines, part, columns.uri)
            elif part.list.kind == JSON_LINES:
                yield from _objects(lines, part.line)
            else:
                numbered = enumerate(lines, start=part.line)
                yield from (
                    Record(number, {columns.uri: line.rstrip("\r\n")}) for number, line in numbered if line.strip()
                )


def _rows(lines: Iterator[str], part: Part, uri_column: str) -> Iterator[Record]:
    columns, number = part.list.columns, part.line
    for record in csv_records(lines, part.list.delimiter):
        if record.problem:
            yield Record(number, {}, f"{record.problem}: {record.start.strip()[:200]}")
        elif any(map(str.strip, record.cells)):  # spreadsheets write blank rows too
            found = _with_every_cell(record.cells, columns, uri_column)
            if found:
                yield Record(number, dict(zip(columns, found, strict=True)))
            else:
                cut = part.list.delimiter.join(record.cells)[:200]
                yield Record(
                    number, {}, f"{counted(len(record.cells), 'cell')}, but the header has {len(columns)}: {cut}"
                )
        number += record.lines


def _with_every_cell(cells: list[str], columns: Sequence[str], uri_column: str) -> list[str] | None:
    """Return a row with a cell for each column; None if it has too many cells, or too few to have a URI.

    Spreadsheets may add empty cells at the end of a row, beyond those of the header, or omit empty cells there: Excel
    decides this separately for every 16 rows.
    """
    missing = len(columns) - len(cells)
    if missing <= 0:
        return None if any(map(str.strip, cells[len(columns) :])) else cells[: len(columns)]
    return cells + [""] * missing if uri_column in columns[: len(cells)] else None


def _objects(lines: Iterator[str], number: int) -> Iterator[Record]:
    for number, line in enumerate(lines, start=number):  # noqa: B020, PLR1704
        if line and not line.isspace():
            yield Record(number, *parsed(line))
