"""The rows of a run directory as files: JSON Lines, CSV or Parquet, with the columns that the manifest has.

======  ==========================================================================================================
jsonl   an object on each line, nested; times and decimals as text, bytes as base64, what is no number as null
csv     a header in each file; nested columns are flattened, ``top.1.label``, ``fields.sku``, what lies deeper is JSON;
        text that a spreadsheet would run as a formula begins with an apostrophe
parquet typed and nested; ``fields`` is left out where a manifest has no other columns
======  ==========================================================================================================
"""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import io
import json
import math
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import storage
from pipeline.records import Chunk, DeadLetter, Prediction

PREDICTIONS, DEAD_LETTERS = "predictions", "dead_letters"
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
_CHUNK_ROWS = 100_000
_BATCH_ROWS = 10_000
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
# Marks whole numbers of which a double holds each: of those that JSON has, not of a Parquet column of 64 bits.
_SMALL = {b"small": b"yes"}
_WIDENED = (pa.types.is_signed_integer, pa.types.is_unsigned_integer, pa.types.is_decimal)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class ColumnTypes:
    """Finds the columns of rows, and a type for each that holds all of its values."""

    def __init__(self, declared: pa.Schema | None = None) -> None:
        self._found, self._looks = declared or pa.schema([]), declared is None
        self._waiting: list[dict[str, Any]] = []

    def add(self, fields: dict[str, Any]) -> None:
        """Looks at a row, unless the columns were declared."""
        if self._looks:
            self._waiting.append(fields)
            if len(self._waiting) >= _BATCH_ROWS:
                self._look()

    def schema(self) -> pa.Schema:
        """The columns of all rows so far."""
        self._look()
        return self._found

    def _look(self) -> None:
        names = dict.fromkeys(name for fields in self._waiting for name in fields)
        found = [_field_of(name, [fields.get(name) for fields in self._waiting]) for name in names]
        self._found = unified([self._found, pa.schema(found)])
        self._waiting = []


def _field_of(name: str, values: list[Any]) -> pa.Field:
    """A column for values as JSON has them: of text where no other type holds them all."""
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.field(name, pa.string())
    if not _has_members(array.type):
        return pa.field(name, pa.string())
    small = array.type == pa.int64() and all(value is None or abs(value) <= 2**53 for value in values)
    return pa.field(name, array.type, metadata=_SMALL if small else None)


def _has_members(kind: pa.DataType) -> bool:
    """Whether Parquet can hold a type: it has no structure without members."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_has_members(field.type) for field in kind)
    return not pa.types.is_list(kind) or _has_members(kind.value_type)


def unified(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of several tables: in their order if they agree on it, else sorted; text where types do not agree."""
    merged: dict[str, pa.Field] = {}
    for schema in schemas:
        found = {field.name: field for field in schema}
        order = _order(list(merged), list(found))
        merged = {name: _common(merged.get(name), found.get(name)) for name in order}
    return pa.schema(list(merged.values()))


def _order(ours: list[str], theirs: list[str]) -> list[str]:
    longer, shorter = (ours, theirs) if len(ours) >= len(theirs) else (theirs, ours)
    rest = iter(longer)
    return longer if all(name in rest for name in shorter) else sorted({*ours, *theirs})


def _common(a: pa.Field | None, b: pa.Field | None) -> pa.Field:
    if a is None or b is None or a.equals(b, check_metadata=True):
        return a or b
    if pa.types.is_null(a.type) or pa.types.is_null(b.type):
        return b if pa.types.is_null(a.type) else a
    small = a.metadata == _SMALL, b.metadata == _SMALL
    kinds = [pa.int32() if is_small else field.type for field, is_small in zip((a, b), small, strict=True)]
    kind = pa.int64() if all(small) else _wider(*kinds)
    return pa.field(a.name, pa.string() if kind is None else kind)


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """A type that holds every value of two without a change; None if text is the only one."""
    if a == b or pa.types.is_null(a) or pa.types.is_null(b):
        return b if pa.types.is_null(a) else a
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        names = dict.fromkeys(field.name for kind in (a, b) for field in kind)
        inner = {name: _wider(_member(a, name), _member(b, name)) for name in names}
        return None if None in inner.values() else pa.struct(list(inner.items()))
    if pa.types.is_list(a) and pa.types.is_list(b):
        value = _wider(a.value_type, b.value_type)
        return None if value is None else pa.list_(value)
    if any(is_kind(a) and is_kind(b) for is_kind in _WIDENED) or (_is_exact_double(a) and _is_exact_double(b)):
        both = [pa.schema([("column", kind)]) for kind in (a, b)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    return None


def _member(kind: pa.StructType, name: str) -> pa.DataType:
    return kind.field(name).type if kind.get_field_index(name) >= 0 else pa.null()


def _is_exact_double(kind: pa.DataType) -> bool:
    """Whether a double holds every value of a type."""
    return pa.types.is_floating(kind) or kind in (
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
    )


class WriteRows(beam.PTransform):
    """Predictions or dead letters to `Chunk`s: finished files that are not in their place yet.

    Args:
        temporary: the folder for them.
        folder: `PREDICTIONS` or `DEAD_LETTERS`.
        form: one of `pipeline.records.OUTPUT_FORMATS`.
        top_k: the length of ``top``.
        columns: a PCollection of the one schema of all fields.
    """

    def __init__(self, temporary: str, *, folder: str, form: str, top_k: int, columns: beam.PCollection) -> None:
        super().__init__()
        self._fn, self._columns = _WriteRowsFn(temporary, folder, form, top_k), columns

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """PCollection of records that have `to_row` to a PCollection of chunks."""
        return records | beam.ParDo(self._fn, beam.pvalue.AsSingleton(self._columns))


class _WriteRowsFn(beam.DoFn):
    def __init__(self, temporary: str, folder: str, form: str, top_k: int) -> None:
        self._temporary, self._folder, self._form, self._top_k = temporary, folder, form, top_k
        self._writer: Writer | None = None
        self._path, self._rows = "", 0

    def start_bundle(self) -> None:
        self._writer = None  # what a failed bundle left open is not finished by the next one

    def process(self, record: Prediction | DeadLetter, columns: pa.Schema) -> Iterator[Chunk]:
        if self._writer is None:
            self._path, self._rows = f"{self._temporary}/{self._folder}-{uuid.uuid4().hex}.{self._form}", 0
            self._writer = writer(self._path, self._folder, columns, self._top_k)
        self._writer.write(record.to_row())
        self._rows += 1
        if self._rows >= _CHUNK_ROWS:
            yield self._close()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._writer is not None:
            yield GlobalWindows.windowed_value_at_end_of_window(self._close())

    def _close(self) -> Chunk:
        assert self._writer is not None
        self._writer.close()
        self._writer = None
        return Chunk(self._folder, self._path, self._rows)


class Writer(Protocol):
    """Writes rows, as `Prediction.to_row` and `DeadLetter.to_row` give them, to a file."""

    def write(self, row: dict[str, Any]) -> None:
        """One row more."""

    def close(self) -> None:
        """Finishes the file."""


def writer(path: str, folder: str, columns: pa.Schema, top_k: int) -> Writer:
    """A new file of rows, in the format that its ending says.

    Args:
        path: of the file.
        folder: `PREDICTIONS` or `DEAD_LETTERS`.
        columns: of the fields.
        top_k: the length of ``top``.
    """
    file = FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
    if path.endswith(".parquet"):
        return _ParquetWriter(file, _SCHEMAS[folder], columns)
    if path.endswith(".csv"):
        return _CsvWriter(file, _SCHEMAS[folder].names, columns.names, top_k)
    return _JsonLinesWriter(file)


def write_nothing(path: str, folder: str, columns: pa.Schema, top_k: int) -> None:
    """A file as `writer` makes it, without rows."""
    if path.endswith(".jsonl"):
        storage.write_text(path, "")
    else:
        writer(path, folder, columns, top_k).close()


class _JsonLinesWriter:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(as_json(row).encode("utf-8") + b"\n")

    def close(self) -> None:
        self._file.close()


class _CsvWriter:
    def __init__(self, file: Any, names: Sequence[str], fields: Sequence[str], top_k: int) -> None:
        self._file = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\r\n")  # so that a cell with either of them is quoted
        self._names, self._fields, self._top_k = names, fields, top_k
        self._csv.writerow([*self._flat_names(), *(f"fields.{name}" for name in fields)])

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
                cells += [entry[part] for entry in row["top"] for part in ("label", "score")]
            else:
                cells.append(row[name])
        self._csv.writerow([as_cell(value) for value in (*cells, *map(row["fields"].get, self._fields))])

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    def __init__(self, file: Any, schema: pa.Schema, columns: pa.Schema) -> None:
        if len(columns):
            columns = pa.schema([(field.name, _writable(field.type)) for field in columns])
            schema = schema.append(pa.field("fields", pa.struct(list(columns))))
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
        self._file.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        arrays = []
        for field in self._parquet.schema:
            if field.name == "fields":
                inner = [self._array([row["fields"].get(own.name) for row in self._rows], own) for own in self._columns]
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


def _writable(kind: pa.DataType) -> pa.DataType:
    """A type that every reader of Parquet knows: a column without any value is one of text."""
    return pa.string() if pa.types.is_null(kind) else kind


def as_json(value: Any) -> str:
    """A value as JSON on one line; what JSON has no form for as text, and as null what is no number."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_without_nan(value), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta, uuid.UUID)):
        return str(value)
    raise TypeError(f"a manifest's column holds a {type(value).__name__}, which has no form in JSON")


def as_text(value: Any) -> str:
    """A value as text: itself, as JSON, or in the form that JSON's text has for it."""
    if isinstance(value, str):
        return value
    return as_json(value) if isinstance(value, (bool, int, float, list, tuple, dict)) else _plain(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def as_cell(value: Any) -> Any:
    """A value as a cell of a CSV; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    text = as_text(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
