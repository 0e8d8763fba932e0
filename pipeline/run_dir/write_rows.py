"""Beam transform that writes rows to files: predictions or dead letters to `Chunk`s."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.records import Chunk, DeadLetter, Prediction
from pipeline.run_dir.formats import Writer, writer

_CHUNK_ROWS = 100_000


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
