"""Splits lists into parts of about 16 MiB that workers read as streams: Parquet by row groups, others by lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from catalogue.lists.csv_lists import csv_records
from catalogue.lists.parquet_lists import open_parquet, parquet_records
from catalogue.lists.streams import line_ends, lines_of, open_bytes, skip, without_marks
from catalogue.lists.values import CSV, IMAGE, JSON_LINES, PARQUET, UTF_8, ImageList, Part, Record

PART_BYTES = 16 * 2**20
MAX_DEPTH = 100  # of a JSON row; pickle and PyArrow fail at several hundred levels


def parts(found: ImageList) -> Iterator[Part]:
    """Yield the parts of a list, or the whole list if it cannot be split."""
    if found.kind == IMAGE or found.gzipped or found.encoding != UTF_8:
        yield Part(found, found.start, None, found.line)
    elif found.kind == PARQUET:
        with open_bytes(found.path) as file:
            metadata = open_parquet(file, found.path).metadata
        row = 1
        for group in range(metadata.num_row_groups):
            yield Part(found, group, None, row)
            row += metadata.row_group(group).num_rows
    else:
        yield from _line_parts(found)


def _line_parts(found: ImageList) -> Iterator[Part]:
    position, line = found.start, found.line
    with open_bytes(found.path) as file:
        while True:
            file.seek(position)
            block = file.read(PART_BYTES)
            if not block:
                return
            block += _to_the_end_of_the_line(file)
            size, lines = len(block), line_ends(block)
            if found.kind == CSV and b'"' in block:
                file.seek(position)
                size, lines = _whole_records(file, found.delimiter, size)
            yield Part(found, position, position + size, line)
            position, line = position + size, line + lines


def _to_the_end_of_the_line(file: Any) -> bytes:
    """Read on to the end of a line; after the CR of a CR LF, that is the LF."""
    return next(lines_of(file), "").encode(UTF_8, "surrogateescape")


def _whole_records(file: Any, delimiter: str, least: int) -> tuple[int, int]:
    """Return the number of bytes and lines of the records, each of one or more lines, that begin in `least` bytes."""
    ends: list[int] = []
    lines = 0
    for record in csv_records(without_marks(_measured(lines_of(file), ends)), delimiter):
        lines += record.lines
        if ends[lines - 1] >= least:
            break
    return ends[lines - 1], lines


def _measured(lines: Iterable[str], ends: list[int]) -> Iterator[str]:
    """Yield the same lines, and append the position of the end of each in bytes to `ends`."""
    end = 0
    for line in lines:
        end += len(line) if line.isascii() else len(line.encode(UTF_8, "surrogateescape"))
        ends.append(end)
        yield line


def records(part: Part, uri_column: str) -> Iterator[Record]:
    """Yield the records of a part, without blank lines."""
    if part.list.kind == IMAGE:
        yield Record(1, {uri_column: part.list.path})
    elif part.list.kind == PARQUET:
        yield from parquet_records(part)
    else:
        with open_bytes(part.list.path, gzipped=part.list.gzipped, encoding=part.list.encoding) as file:
            skip(file, part.start)
            lines = without_marks(lines_of(file, None if part.end is None else part.end - part.start))
            if part.list.kind == CSV:
                yield from _rows(lines, part, uri_column)
            elif part.list.kind == JSON_LINES:
                yield from _objects(lines, part.line, uri_column)
            else:
                numbered = enumerate(lines, start=part.line)
                yield from (
                    Record(number, {uri_column: line.rstrip("\r\n")}) for number, line in numbered if line.strip()
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
                yield Record(number, {}, f"{len(record.cells)} cells, but the header has {len(columns)}: {cut}")
        number += record.lines


def _with_every_cell(cells: list[str], columns: Sequence[str], uri_column: str) -> list[str] | None:
    """Return a row with a cell for each column; None if it has too many cells, or too few to have a URI.

    Spreadsheets write more empty cells at the end of a row than the header has, and sometimes omit them: Excel decides
    this separately for every 16 rows.
    """
    missing = len(columns) - len(cells)
    if missing <= 0:
        return None if any(map(str.strip, cells[len(columns) :])) else cells[: len(columns)]
    return cells + [""] * missing if uri_column in columns[: len(cells)] else None


def _names(pairs: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in pairs]


def _is_deep(value: Any) -> bool:
    """Return whether a JSON value has more than `MAX_DEPTH` levels, which some later readers cannot handle."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level if isinstance(one, (dict, list)) for inner in _members(one)]
    return any(isinstance(one, (dict, list)) for one in level)


def _members(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _objects(lines: Iterator[str], number: int, uri_column: str) -> Iterator[Record]:
    key = json.dumps(uri_column)
    for number, line in enumerate(lines, start=number):  # noqa: B020, PLR1704
        if not line or line.isspace():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield Record(number, {}, f"invalid JSON, {error.msg} at column {error.colno}: {line.strip()[:200]}")
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or as many brackets
            yield Record(number, {}, f"unreadable JSON, {error}: {line.strip()[:200]}")
        else:
            problem = "" if isinstance(value, dict) else f"not a JSON object: {line.strip()[:200]}"
            if line.count("[") + line.count("{") > MAX_DEPTH and _is_deep(value):
                problem = f"nested more than {MAX_DEPTH} levels deep: {line.strip()[:200]}"
            if line.count(key) > 1 and json.loads(line, object_pairs_hook=_names).count(uri_column) > 1:
                problem = f"duplicate key {uri_column!r}: {line.strip()[:200]}"
            yield Record(number, {} if problem else value, problem)
