"""Reads the header of a CSV, and finds its delimiter."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import pyarrow as pa

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.lists.csv_lists import csv_records
from catalogue.lists.heads import Head
from catalogue.lists.streams import size_of
from catalogue.lists.values import CSV, ImageList, ListColumns

_SEPARATOR_LINE = re.compile(r'\s*"?sep=(\t|[^\w\s"])"?\s*', re.IGNORECASE)  # tells Excel the delimiter


class Header(NamedTuple):
    """First nonblank record of a CSV, parsed with a certain delimiter.

    Attributes:
        delimiter: the delimiter.
        cells: stripped cells of the record; empty if the list is empty or not CSV.
        lines: number of lines from the start of the file to the end of the record.
    """

    delimiter: str
    cells: tuple[str, ...]
    lines: int


def declared_delimiter(head: Head) -> str:
    """Return the delimiter that the first line declares, as in ``sep=;``, or an empty string."""
    declared = _SEPARATOR_LINE.fullmatch(head.first)
    return declared[1] if declared else ""


def header_of(head: Head, delimiters: str, uri_column: str) -> Header:
    """Return the header parsed with the best delimiter: one that yields the URI column, or else the most cells."""
    headers = [_parsed(head, delimiter) for delimiter in delimiters]
    return max(headers, key=lambda header: (uri_column in header.cells, max(len(header.cells), 1)))


def _parsed(head: Head, delimiter: str) -> Header:
    lines = head.blank + 1 if declared_delimiter(head) else 0
    for record in csv_records(head.complete[lines:], delimiter):
        lines += record.lines
        cells = tuple(cell.strip() for cell in record.cells)
        if record.problem or any(cells):
            return Header(delimiter, cells, lines)
    return Header(delimiter, (), lines)


def csv_list(head: Head, delimiters: str, wanted: ListColumns) -> ImageList:
    """Return the list in a CSV with this head. Raises UserError if its header is unreadable or has wrong columns."""
    header = header_of(head, delimiters, wanted.uri)
    if not header.cells:
        raise UserError(f"{head.path}: the first line is not valid CSV: {head.first.strip()[:100]!r}")
    if not all(map(storage.is_unicode, header.cells)):
        raise UserError(f"{head.path} is not UTF-8 in its first line: save it as UTF-8")
    columns = header.cells
    while not columns[-1]:  # spreadsheets write empty cells at the end
        columns = columns[:-1]
    wanted.check(head.path, columns)
    return dataclasses.replace(
        ImageList(head.path, CSV, pa.schema([(name, pa.string()) for name in columns if name != wanted.uri])),
        gzipped=head.gzipped,
        encoding=head.encoding,
        columns=columns,
        delimiter=header.delimiter,
        start=size_of(head.raw[: header.lines]),
        line=1 + header.lines,
        ends_with_cr=head.ends_with_cr,
    )
