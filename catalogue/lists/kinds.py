"""Detects the kinds of files that list images, one per line or row.

============  =====================================================================================================
kind          recognized by
============  =====================================================================================================
Parquet       its first bytes
image         its first bytes or its extension; a list of one image, itself
JSON Lines    ``.jsonl``, ``.ndjson``, ``.json``; or a first line that begins with ``{``
CSV           ``.csv``; or the URI column in its first line. The delimiter is the comma, semicolon, tab or bar that
              separates this column
TSV           ``.tsv``, ``.tab``
text          ``.txt``, ``.text``, ``.list``, ``.lst``, unless the first line has the URI column and others; and
              everything else
============  =====================================================================================================

JSON Lines, CSV, TSV and text may be gzipped, whatever their name; the extension ``.gz`` is ignored. Text is UTF-8, or
UTF-16 with a byte order mark.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import zlib

import pyarrow as pa

from catalogue.cli.errors import UserError
from catalogue.images.formats import has_known_signature
from catalogue.lists.csv_lists import CsvRecord, cells_of, csv_records
from catalogue.lists.parquet_lists import schema_of
from catalogue.lists.streams import decoded, measured, open_bytes
from catalogue.lists.values import (
    BATCH_ROWS,
    CSV,
    IMAGE,
    JSON_LINES,
    PARQUET,
    TEXT,
    UTF_8,
    UTF_16,
    ImageList,
    ListColumns,
)

ENDINGS = {
    ".csv": CSV,
    ".tsv": CSV,
    ".tab": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".txt": TEXT,
    ".text": TEXT,
    ".list": TEXT,
    ".lst": TEXT,
}
LABELED_ENDINGS = tuple(ending for ending, kind in ENDINGS.items() if kind != TEXT)
IMAGE_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".apng",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
)
PARQUET_ENDINGS = (".parquet", ".pq")
DELIMITERS = ",;\t|"
_LOOKED_AT_BYTES = 1 << 16
_NO_COLUMNS = pa.schema([])
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # tells Excel the delimiter
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # not in text, unlike tabs and line endings


def recognize(path: str, columns: ListColumns) -> ImageList:
    """Detect the kind of a list from its extension and its content.

    Args:
        path: local or remote path.
        columns: columns that the list must have.

    Raises:
        UserError: the file is not a list that can be read, or lacks a column.
    """
    with open_bytes(path) as file:
        first_bytes = file.read(_LOOKED_AT_BYTES)
    gzipped = first_bytes.startswith(b"\x1f\x8b")
    if gzipped:
        with contextlib.suppress(zlib.error):
            first_bytes = zlib.decompressobj(wbits=31).decompress(first_bytes, _LOOKED_AT_BYTES)
    if first_bytes.startswith(b"PAR1"):
        if gzipped:
            raise UserError(f"{path} is a gzipped Parquet file: unpack it, its pages are compressed already")
        return ImageList(path, PARQUET, schema_of(path, columns))
    picture = has_known_signature(first_bytes) and b"\0" in first_bytes[:32]  # a list may begin with BMW/1.jpg
    if path.lower().endswith(IMAGE_ENDINGS) or (picture and not gzipped):
        _check_has_labels(path, columns)
        return ImageList(path, IMAGE, _NO_COLUMNS)
    if not first_bytes and not gzipped:
        raise UserError(f"{path} is empty: it names no images")
    encoding, first_bytes = _in_utf_8(path, first_bytes)
    if first_bytes.startswith(b"PK\3\4"):
        raise UserError(f"{path} is a spreadsheet or another zip file: save it as CSV in UTF-8")
    first, second = _first_lines(path, first_bytes)
    separator = _SEPARATOR_LINE.fullmatch(first)
    if separator:
        kind, delimiters, first = CSV, separator[1], second
    else:
        kind, delimiters = _kind(path, first, columns.uri)
    if kind == CSV:
        return _with_header(ImageList(path, CSV, _NO_COLUMNS, gzipped, encoding), first, delimiters, columns)
    if kind == JSON_LINES:
        _check_keys(path, first_bytes, columns)
    if kind == TEXT:
        _check_has_labels(path, columns)
    return ImageList(path, kind, None if kind == JSON_LINES else _NO_COLUMNS, gzipped, encoding)


def _in_utf_8(path: str, first_bytes: bytes) -> tuple[str, bytes]:
    """Return the encoding given by the byte order mark, and the first bytes in UTF-8. Raises UserError for UTF-32."""
    if first_bytes.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise UserError(f"{path} is UTF-32: save it as UTF-8")
    if first_bytes.startswith((b"\xff\xfe", b"\xfe\xff")):
        return UTF_16, first_bytes.decode(UTF_16, "replace").encode(UTF_8)
    return UTF_8, first_bytes


def _first_lines(path: str, first_bytes: bytes) -> tuple[str, str]:
    """Return the first two lines that are not blank, or empty strings. Raises UserError if the file is not text."""
    text = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip().decode("utf-8", "replace")
    first, _, rest = text.partition("\n")
    first = first.strip()
    if "\0" in first[:2]:
        raise UserError(f"{path} is UTF-16 without a byte order mark: save it as UTF-8")
    if _CONTROL.search(first):
        raise UserError(
            f"{path} is not text: give a folder, a glob, or a list of URIs, see docs/reference/manifests.md"
        )
    if "\r" in first:
        raise UserError(f"{path} has CR line endings, as on old Macs: save it with LF or CR LF")
    return first, rest.lstrip().partition("\n")[0].strip()


def _check_has_labels(path: str, columns: ListColumns) -> None:
    """Reject a file that names only images if labels are required."""
    if columns.label is not None:
        raise UserError(
            f"{path} has no column {columns.label!r}: give a CSV, TSV, JSON Lines or Parquet file with the columns "
            f"{columns.uri} and {columns.label}"
        )


def _kind(path: str, first: str, uri_column: str) -> tuple[str, str]:
    """Return the kind of a text file and its possible delimiters."""
    ending = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    if ending in PARQUET_ENDINGS:
        raise UserError(f"{path} is not a Parquet file, unlike its extension: rename it")
    if ENDINGS.get(ending) == JSON_LINES and (first.startswith("[") or first == "{"):
        rows = ".[]" if first.startswith("[") else ".NAME[]"
        raise UserError(f"{path} is one JSON value: write JSON Lines, with one object per line (jq -c '{rows}')")
    header = max((cells_of(first, mark) for mark in DELIMITERS), key=lambda cells: (uri_column in cells, len(cells)))
    if ENDINGS.get(ending) == TEXT and not (uri_column in header and len(header) > 1):  # spreadsheets export such .txt
        return TEXT, ""
    if ENDINGS.get(ending, TEXT) != TEXT:
        return ENDINGS[ending], "\t" if ending in (".tsv", ".tab") else DELIMITERS
    if first.startswith("{"):
        return JSON_LINES, ""
    return (CSV, DELIMITERS) if uri_column in header else (TEXT, "")


def _check_keys(path: str, first_bytes: bytes, columns: ListColumns) -> None:
    """Reject JSON Lines if the first lines all lack a required column, which then has another name."""
    keys: dict[str, None] = {}
    for line in first_bytes.split(b"\n")[:BATCH_ROWS]:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            keys |= dict.fromkeys(value) if isinstance(value, dict) else {}
    if keys:
        columns.check(path, list(keys))


def is_list_by_name(path: str) -> bool:
    """Return whether a path or a glob has the extension of a list."""
    return os.path.splitext(path.lower().removesuffix(".gz"))[1] in (*ENDINGS, *PARQUET_ENDINGS)


def _with_header(found: ImageList, first: str, delimiters: str, wanted: ListColumns) -> ImageList:
    delimiter = next((mark for mark in delimiters if wanted.uri in cells_of(first, mark)), delimiters[0])
    with open_bytes(found.path, gzipped=found.gzipped, encoding=found.encoding) as file:
        lengths: list[int] = []
        header, lines = CsvRecord(0, []), 0
        for header in csv_records(decoded(measured(file, lengths)), delimiter):
            lines += header.lines
            if _SEPARATOR_LINE.fullmatch(delimiter.join(header.cells)):
                continue
            if header.cells or header.problem:  # the first record that is not blank
                break
    if not header.cells:
        raise UserError(f"{found.path}: the first line is not valid CSV: {first[:100]!r}")
    if not _is_utf8(header.cells):
        raise UserError(f"{found.path} is not UTF-8 in its first line: save it as UTF-8")
    columns = tuple(cell.strip() for cell in header.cells)
    while columns and not columns[-1]:  # spreadsheets write empty cells at the end
        columns = columns[:-1]
    wanted.check(found.path, columns)
    schema = pa.schema([(name, pa.string()) for name in columns if name != wanted.uri])
    start, line = sum(lengths[:lines]), 1 + lines
    return dataclasses.replace(found, schema=schema, columns=columns, delimiter=delimiter, start=start, line=line)


def _is_utf8(cells: list[str]) -> bool:
    try:
        "".join(cells).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
