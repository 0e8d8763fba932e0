"""Reads the records of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.cli.errors import UserError
from catalogue.lists import arrow_types
from catalogue.lists.streams import open_bytes, open_list
from catalogue.lists.values import BATCH_ROWS, ListColumns, Part, Record

# Raised for values that Python cannot represent: the year 10,000, an unknown time zone, text that is not UTF-8.
_NO_VALUE = (ValueError, OverflowError, KeyError, pa.ArrowException)


def schema_of(path: str, columns: ListColumns) -> pa.Schema:
    """Return the schema of a Parquet file without the URI column, see `_plain_field`. Raises UserError."""
    with open_bytes(path) as file:
        schema = open_parquet(file, path).schema_arrow
    columns.check(path, schema.names)
    return pa.schema([_plain_field(field, columns) for field in schema if field.name != columns.uri])


def parquet_records(part: Part, columns: ListColumns) -> Iterator[Record]:
    """Yield the rows of a row group."""
    number = part.line
    with open_list(part.list) as file:
        for batch in _batches(file, part):
            try:
                found = [Record(0, row) for row in _plain(batch, columns).to_pylist()]
            except _NO_VALUE:
                found = [_record_of(batch.slice(row, 1), columns) for row in range(len(batch))]
            for record in found:
                yield record._replace(number=number)
                number += 1


def _batches(file: Any, part: Part) -> Iterator[pa.RecordBatch]:
    try:
        yield from open_parquet(file, part.list.path).iter_batches(BATCH_ROWS, row_groups=[part.start])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{part.list.path} is damaged or cannot be read: {error}") from error


def _record_of(row: pa.RecordBatch, columns: ListColumns) -> Record:
    try:
        return Record(0, _plain(row, columns).to_pylist()[0])
    except UnicodeDecodeError:
        return Record(0, {}, "not UTF-8")
    except _NO_VALUE as error:
        return Record(0, {}, f"a value that Python cannot represent: {error}")


def open_parquet(file: Any, path: str) -> pq.ParquetFile:
    """Open a Parquet file and read its footer. Raises UserError."""
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a complete Parquet file: {error}") from error


def _plain_field(field: pa.Field, columns: ListColumns) -> pa.Field:
    """Return a field with the type that `_plain` casts its values to."""
    kind = arrow_types.plain(field.type)
    return pa.field(field.name, arrow_types.text(kind) if field.name in (columns.uri, columns.label) else kind)


def _plain(batch: pa.RecordBatch, columns: ListColumns) -> pa.RecordBatch:
    """Cast the columns to the types of `_plain_field`, which Python can represent."""
    fields = [_plain_field(field, columns) for field in batch.schema]
    cast = [
        column.cast(field.type, safe=False) if column.type != field.type else column
        for column, field in zip(batch.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(cast, schema=pa.schema(fields))
