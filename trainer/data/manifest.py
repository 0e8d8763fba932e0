"""Lists of labelled photos: CSV, TSV, JSON Lines or Parquet with the columns ``uri`` and ``label``.

A CSV may have commas, semicolons, bars or tabs. Spaces around a URI or a label are cut.
Each of them may be gzipped, but for Parquet. Other columns are of no concern here. A relative URI is relative to the
list. What a classifier is to learn from must be right: a list with a wrong row is refused, with the row's number.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from catalogue.cli.console import UserError
from catalogue.storage import files

if TYPE_CHECKING:
    import pyarrow as pa

URI, LABEL = "uri", "label"
_DELIMITERS = {".csv": ",;|\t", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = ".parquet"
SUFFIXES = (*_DELIMITERS, *_JSON_LINES, _PARQUET)


def is_manifest(path: str) -> bool:
    """Whether a path ends as the lists that are read here do."""
    return _suffix(path) in SUFFIXES


def _suffix(path: str) -> str:
    return os.path.splitext(path.lower().removesuffix(".gz"))[1]


def read(manifest: str) -> Iterator[tuple[str, str]]:
    """Reads a list. Yields the URI, absolute or relative to the working directory, and the label of each row.

    Raises:
        UserError: it cannot be read, lacks a column, or a row has no URI or no label.
    """
    table = _table(manifest)
    if not len(table):
        raise UserError(f"{manifest} has no rows")
    base = manifest.rpartition("/")[0]
    for number, (uri, label) in enumerate(zip(_texts(table, URI), _texts(table, LABEL), strict=True), start=1):
        if not uri or not label:
            raise UserError(f"{manifest}: row {number:,} has no {LABEL if uri else URI}: complete it or remove it")
        absolute = not base or files.is_remote(uri) or os.path.isabs(uri)
        yield uri if absolute else f"{base}/{uri}", label


def _texts(table: pa.Table, column: str) -> Iterator[str]:
    """The values of a column as texts; a whole number that another tool stored as a fraction is a whole number."""
    for value in table.column(column).to_pylist():
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        yield "" if whole is None else str(whole).strip()


def _table(manifest: str) -> pa.Table:
    import pyarrow as pa

    content = files.read_whole(manifest)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        table = _parsed(content, _suffix(manifest))
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{manifest} cannot be read as a list of photos: {error}") from error
    missing = [name for name in (URI, LABEL) if name not in table.column_names]
    if missing:
        found = ", ".join(map(repr, table.column_names[:10])) or "none"
        raise UserError(f"{manifest} has no column {' and '.join(map(repr, missing))}; it has {found}")
    return table.select([URI, LABEL])


def _delimiter(content: bytes, suffix: str) -> str:
    """The one that parts the most columns of the first line; spreadsheets of many countries write semicolons."""
    head = content.split(b"\n", 1)[0].decode("utf-8", "replace")
    return max(_DELIMITERS[suffix], key=head.count)


def _parsed(content: bytes, suffix: str) -> pa.Table:
    import pyarrow as pa

    source: Any = pa.BufferReader(content)
    if suffix in _DELIMITERS:
        from pyarrow import csv

        return csv.read_csv(
            source,
            read_options=csv.ReadOptions(use_threads=False),  # with threads it names no row in errors
            parse_options=csv.ParseOptions(delimiter=_delimiter(content, suffix), newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types={URI: pa.string(), LABEL: pa.string()}),
        )
    if suffix in _JSON_LINES:
        from pyarrow import json

        return json.read_json(source)
    from pyarrow import parquet

    return parquet.read_table(source)
