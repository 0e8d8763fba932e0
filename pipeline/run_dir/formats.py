"""File formats of the rows of a run directory: JSON Lines, CSV or Parquet, with the columns of the manifest.

======= ==========================================================================================================
jsonl   a nested object per line; times and decimals as text, bytes as base64, NaN and infinity as null
csv     a header in each file; nested columns are flattened (``top.1.label``, ``fields.sku``), deeper levels are JSON;
        text that a spreadsheet would run as a formula is prefixed with an apostrophe
parquet typed and nested; ``fields`` is omitted if the manifest has no other columns
======= ==========================================================================================================

If a manifest has more than `columns.MOST_COLUMNS` columns, ``fields`` is a single JSON column in CSV and Parquet: with
separate columns, a row that uses only a few of them would still take space for all.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue import storage
from catalogue.lists import arrow_types
from catalogue.lists.cells import as_cell, as_json, as_text
from pipeline.run_dir.columns import are_too_many
from pipeline.run_dir.layout import DEAD_LETTERS, PREDICTIONS

_SCHEMAS = {
    PREDICTIONS: pa.schema(
        [
            ("uri", pa.string()),
            ("label", pa.string()),
            ("score", pa.float32()),
            ("top", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))),
            ("model_id", pa.string()),
            ("content_hash", pa.string()),
        ]
    ),
    DEAD_LETTERS: pa.schema(
        [("uri", pa.string()), ("reason", pa.string()), ("transient", pa.bool_()), ("message", pa.string())]
    ),
}
_FIELDS = "fields"
_BATCH_ROWS = 10_000


class Writer(Protocol):
    """Writer of a file of rows, which come from `Prediction.to_row` or `DeadLetter.to_row`."""

    def write(self, row: dict[str, Any]) -> None:
        """Write a row."""

    def close(self) -> None:
        """Finish the file, which does not exist until then."""


def writer(path: str, folder: str, columns: pa.Schema, top_k: int) -> Writer:
    """Return a writer of a new file of rows.

    Args:
        path: path of the file, whose extension determines the format.
        folder: `PREDICTIONS` or `DEAD_LETTERS`.
        columns: columns of ``fields``.
        top_k: maximum length of ``top``.
    """
    file = storage.NewFile(path)
    if path.endswith(".parquet"):
        return _ParquetWriter(file, _SCHEMAS[folder], columns)
    if path.endswith(".csv"):
        return _CsvWriter(file, _SCHEMAS[folder].names, None if are_too_many(columns) else columns.names, top_k)
    return _JsonLinesWriter(file)


class _JsonLinesWriter:
    def __init__(self, file: storage.NewFile) -> None:
        self._file = file

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(as_json(row).encode("utf-8") + b"\n")

    def close(self) -> None:
        self._file.commit()


class _CsvWriter:
    def __init__(self, file: storage.NewFile, names: Sequence[str], fields: Sequence[str] | None, top_k: int) -> None:
        self._file = file
        self._csv = csv.writer(_Encoded(file), lineterminator="\r\n")  # quotes cells with \r or \n
        self._names, self._fields, self._top_k = names, fields, top_k
        columns = [_FIELDS] if fields is None else [f"{_FIELDS}.{name}" for name in fields]
        self._csv.writerow([*self._flat_names(), *map(as_cell, columns)])

    def _flat_names(self) -> Iterator[str]:
        for name in self._names:
            if name == "top":
                yield from (f"top.{rank + 1}.{part}" for rank in range(self._top_k) for part in ("label", "score"))
            else:
                yield name

    def write(self, row: dict[str, Any]) -> None:
        cells: list[Any] = []
        for name in self._names:
            if name == "top":
                best = [entry[part] for entry in row["top"] for part in ("label", "score")]
                cells += best + [None] * (2 * self._top_k - len(best))
            else:
                cells.append(row[name])
        own = row[_FIELDS]
        cells += [as_json(own)] if self._fields is None else map(own.get, self._fields)
        self._csv.writerow(map(as_cell, cells))

    def close(self) -> None:
        self._file.commit()


class _Encoded:
    """Text wrapper around a binary file."""

    def __init__(self, file: storage.NewFile) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode("utf-8"))


class _ParquetWriter:
    def __init__(self, file: storage.NewFile, schema: pa.Schema, columns: pa.Schema) -> None:
        if are_too_many(columns):
            schema = schema.append(pa.field(_FIELDS, pa.string()))
        elif len(columns):
            columns = pa.schema([(field.name, arrow_types.writable(field.type)) for field in columns])
            schema = schema.append(pa.field(_FIELDS, pa.struct(list(columns))))
        self._columns = columns
        self._file, self._parquet = file, pq.ParquetWriter(file, schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._parquet.close()
        self._file.commit()

    def _flush(self) -> None:
        if not self._rows:
            return
        arrays = []
        for field in self._parquet.schema:
            if field.name == _FIELDS and pa.types.is_string(field.type):
                arrays.append(pa.array([as_json(row[_FIELDS]) for row in self._rows], field.type))
            elif field.name == _FIELDS:
                inner = [self._array([row[_FIELDS].get(own.name) for row in self._rows], own) for own in self._columns]
                arrays.append(pa.StructArray.from_arrays(inner, fields=list(self._columns)))
            else:
                arrays.append(pa.array([row[field.name] for row in self._rows], field.type))
        self._parquet.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._parquet.schema))
        self._rows = []

    def _array(self, values: list[Any], field: pa.Field) -> pa.Array:
        if pa.types.is_string(field.type):
            values = [None if value is None else as_text(value) for value in values]
        elif pa.types.is_floating(field.type):
            values = [None if value is None else float(value) for value in values]
        return pa.array(values, field.type)
