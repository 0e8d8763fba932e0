"""File format of finished journals: Parquet, with the attributes of `Result` as columns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from pipeline.journal.chunk_files import Settings
from pipeline.records import Result

_SETTINGS = b"settings"
_BATCH_ROWS = 2_000
_SCHEMA = pa.schema(
    [
        ("location", pa.string()),
        ("version", pa.string()),
        ("content_hash", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("reason", pa.string()),
        ("transient", pa.bool_()),
        ("message", pa.string()),
    ]
)


def write_part(path: str, results: Iterable[Result], settings: Settings) -> int:
    """Write results to a journal part.

    Returns:
        The number of results.

    Raises:
        StorageError: the part cannot be written.
    """
    schema = _SCHEMA.with_metadata({_SETTINGS: json.dumps(dataclasses.asdict(settings)).encode()})
    count, waiting = 0, list[Result]()
    with (
        storage.NewFile(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as parquet,
    ):
        for result in results:
            waiting.append(result)
            if len(waiting) >= _BATCH_ROWS:
                parquet.write_table(_table(waiting, schema))  # one row group, so that no rows stay in memory
                count, waiting = count + len(waiting), []
        parquet.write_table(_table(waiting, schema))
    return count + len(waiting)


def _table(results: Sequence[Result], schema: pa.Schema) -> pa.Table:
    columns = {
        "labels": [[label for label, _ in result.top] for result in results],
        "scores": [[score for _, score in result.top] for result in results],
    }
    values = (columns.get(name) or [getattr(result, name, None) for result in results] for name in schema.names)
    return pa.Table.from_arrays(
        [pa.array(own, kind) for own, kind in zip(values, schema.types, strict=True)], schema=schema
    )


def read_part(path: str) -> Iterator[tuple[Settings, list[Result]]]:
    """Read a journal part in batches, each with the settings that its results depend on.

    Raises:
        StorageError: the file cannot be read, or is not a journal part.
    """
    try:
        with storage.open_file(path) as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            settings = Settings.from_json(json.loads((parquet.schema_arrow.metadata or {})[_SETTINGS]))
            if not parquet.schema_arrow.equals(_SCHEMA):
                raise ValueError(f"unexpected columns {parquet.schema_arrow.names}")
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=_SCHEMA.names):
                yield settings, _results(batch)
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        raise StorageError(Reason.READ_FAILED, f"{path} is not a journal part: {error}") from error


def _results(batch: pa.RecordBatch) -> list[Result]:
    columns = {name: batch.column(name).to_pylist() for name in _SCHEMA.names}
    tops = (tuple(zip(*pair, strict=True)) for pair in zip(columns.pop("labels"), columns.pop("scores"), strict=True))
    location, version, content_hash, *failure = columns.values()
    return list(map(Result, location, version, content_hash, tops, *failure))
