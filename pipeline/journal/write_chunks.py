"""Beam transform that writes finished images to chunks of the journal, and collects statistics for the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from pipeline.journal import engine_watch
from pipeline.journal.chunk_files import Settings
from pipeline.journal.open_chunks import OpenChunk
from pipeline.journal.statistics import Statistics
from pipeline.records import Chunk, FinishedImage

MAX_ROWS = 1_000
_STATISTICS = "statistics"


class Written(NamedTuple):
    """PCollections of `Chunk`s, and of `Statistics` of their images."""

    chunks: beam.PCollection
    statistics: beam.PCollection


class WriteChunks(beam.PTransform):
    """Beam transform that writes `FinishedImage`s to chunks, closed after 1,000 rows or 30 s, even within a bundle.

    A retried bundle writes new chunks, and only the chunks of the successful attempt are emitted, so nothing is lost or
    duplicated. The chunks of a failed attempt, including the chunk that was open at the failure, stay in storage, and a
    later run reuses their results.

    Args:
        folder: folder for the chunks.
        settings: settings of the run.
        max_rows: number of rows at which a chunk is closed; at most 1,000.
    """

    def __init__(self, folder: str, settings: Settings, max_rows: int = MAX_ROWS) -> None:
        super().__init__()
        self._fn = _WriteChunksFn(folder, settings, min(max_rows, MAX_ROWS))

    def expand(self, finished: beam.PCollection) -> Written:
        """Write a PCollection of `FinishedImage`s."""
        outputs = finished | beam.ParDo(self._fn).with_outputs(_STATISTICS, main="chunks")
        return Written(outputs.chunks, outputs[_STATISTICS])


class _WriteChunksFn(beam.DoFn):
    def __init__(self, folder: str, settings: Settings, max_rows: int) -> None:
        self._folder, self._settings, self._max_rows = folder, settings, max_rows
        self._open: OpenChunk | None = None

    def setup(self) -> None:
        engine_watch.start()

    def start_bundle(self) -> None:
        self.teardown()  # save the chunk of a failed bundle
        self._statistics = Statistics()

    def process(self, image: FinishedImage) -> Iterator[Chunk]:
        if self._open is None:
            self._open = OpenChunk(self._folder, self._settings)
        self._open.write(image)
        self._statistics.add(image)
        if self._open.rows >= self._max_rows or self._open.is_old():
            yield self._closed(self._open)

    def finish_bundle(self) -> Iterator[beam.pvalue.TaggedOutput]:
        windowed = GlobalWindows.windowed_value_at_end_of_window
        if self._open:
            yield windowed(self._closed(self._open))
        if self._statistics.images:
            yield beam.pvalue.TaggedOutput(_STATISTICS, windowed(self._statistics))

    def teardown(self) -> None:
        if self._open:
            self._open.save()
        self._open = None

    def _closed(self, chunk: OpenChunk) -> Chunk:
        self._open = None
        return chunk.close()
