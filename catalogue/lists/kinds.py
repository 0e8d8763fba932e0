"""Detects the kinds of files that list images, with one line or row per image.

============  =====================================================================================================
kind          recognized by
============  =====================================================================================================
Parquet       its first bytes
image         its first bytes or its extension; counts as a list that contains only itself
JSON Lines    ``.jsonl``, ``.ndjson``, ``.json``; or a first line that begins with ``{``
CSV           ``.csv``; or the URI column in its first record. The delimiter is the comma, semicolon, tab or bar that
              separates this column, unless the first line declares it, as in ``sep=;``
TSV           ``.tsv``, ``.tab``
text          ``.txt``, ``.text``, ``.list``, ``.lst``, unless the first record has the URI column and other columns or
              is a JSON object; and everything else
============  =====================================================================================================

JSON Lines, CSV, TSV and text may be gzipped, whatever their name; the extension ``.gz`` is ignored. Text is UTF-8, or
UTF-16 with a byte order mark. A file is recognized from its head, see `catalogue.lists.heads`.
"""

from __future__ import annotations

import os

import pyarrow as pa

from catalogue.cli.errors import UserError
from catalogue.images.formats import has_known_signature
from catalogue.lists.csv_headers import csv_list, declared_delimiter, header_of
from catalogue.lists.heads import PARQUET_MAGIC, Head, head_of
from catalogue.lists.json_heads import check_is_not_json, check_objects, is_object
from catalogue.lists.parquet_lists import schema_of
from catalogue.lists.streams import open_bytes
from catalogue.lists.values import CSV, IMAGE, JSON_LINES, PARQUET, TEXT, ImageList, ListColumns

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
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 1 << 10
_NO_COLUMNS = pa.schema([])


def recognize(path: str, columns: ListColumns) -> ImageList | None:
    """Detect the kind of a list from its extension and its head; None if the list is empty.

    Args:
        path: local or remote path.
        columns: columns that the list must have.

    Raises:
        UserError: the file is not a list that can be read, or lacks a column.
        StorageError: the file cannot be read.
    """
    with open_bytes(path) as file:
        first_bytes = file.read(_MAGIC_BYTES)
    if first_bytes.startswith(PARQUET_MAGIC):
        return ImageList(path, PARQUET, schema_of(path, columns))
    if _is_image(path, first_bytes):
        _check_has_labels(path, columns)
        return ImageList(path, IMAGE, _NO_COLUMNS)
    head = head_of(path, gzipped=first_bytes.startswith(_GZIP_MAGIC))
    return None if head.is_empty else _text_list(head, columns)


def _is_image(path: str, first_bytes: bytes) -> bool:
    """Return whether a file has the extension or the magic bytes of an image.

    Magic bytes count only if there is a null byte among the first bytes: a text list may begin with ``BMW/1.jpg``, and
    BMP files begin with ``BM``.
    """
    return path.lower().endswith(IMAGE_ENDINGS) or (has_known_signature(first_bytes) and b"\0" in first_bytes[:32])


def _text_list(head: Head, columns: ListColumns) -> ImageList:
    kind, delimiters = _kind(head, columns.uri)
    if kind == CSV:
        return csv_list(head, delimiters, columns)
    if kind == JSON_LINES:
        check_objects(head, columns)
    else:
        check_is_not_json(head)
        _check_has_labels(head.path, columns)
    schema = None if kind == JSON_LINES else _NO_COLUMNS
    return ImageList(head.path, kind, schema, head.gzipped, head.encoding, ends_with_cr=head.ends_with_cr)


def _kind(head: Head, uri_column: str) -> tuple[str, str]:
    """Return the kind of a text file and its possible delimiters."""
    delimiter, ending = declared_delimiter(head), _ending(head.path)
    named = CSV if delimiter else ENDINGS.get(ending)
    if ending in PARQUET_ENDINGS:
        raise UserError(f"{head.path} is not a Parquet file, despite its extension: rename it")
    if named == CSV:
        return CSV, delimiter or ("\t" if ending in (".tsv", ".tab") else DELIMITERS)
    if named == JSON_LINES or (head.first.startswith("{") and (named is None or is_object(head.first))):
        return JSON_LINES, ""
    header = header_of(head, DELIMITERS, uri_column).cells
    has_column = uri_column in header and (named is None or len(header) > 1)  # spreadsheets export columns as .txt
    return (CSV, DELIMITERS) if has_column else (TEXT, "")


def _check_has_labels(path: str, columns: ListColumns) -> None:
    """Reject a file without columns if labels are required."""
    if columns.label is not None:
        raise UserError(
            f"{path} has no column {columns.label!r}: give a CSV, TSV, JSON Lines or Parquet file with the columns "
            f"{columns.uri} and {columns.label}"
        )


def list_ending(path: str) -> str:
    """Return the extension of a list, including a final ``.gz``, without changing its case."""
    stem = path[:-3] if path.lower().endswith(".gz") else path
    return os.path.splitext(stem)[1] + path[len(stem) :]


def _ending(path: str) -> str:
    return list_ending(path).lower().removesuffix(".gz")


def is_list_by_name(path: str) -> bool:
    """Return whether a path or a glob has the extension of a list."""
    return _ending(path) in (*ENDINGS, *PARQUET_ENDINGS)
