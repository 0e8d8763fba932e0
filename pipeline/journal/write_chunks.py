"""Beam transform that writes finished images to chunks of the journal, and sums them up for the report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from pipeline.journal.chunk_files import ChunkWriter, Settings
from pipeline.journal.statistics import Statistics
from pipeline.records import Chunk, FinishedImage

PREFIX = "chunk-"
MAX_ROWS, MAX_SECONDS = 1_000, 30.0
_STATISTICS = "statistics"


class Written(NamedTuple):
    """PCollections of `Chunk`s, and of `Statistics` of what is in them."""

    chunks: beam.PCollection
    statistics: beam.PCollection


class WriteChunks(beam.PTransform):
    """Writes `FinishedImage`s to chunks, which are closed after 1,000 rows or 30 s, also in the middle of a bundle.

    A bundle that is tried again writes new chunks, and only those of the attempt that succeeded are passed on. So
    nothing is lost and nothing doubled, although the chunks of a failed attempt stay on the disk: a later run reuses
    their results.

    Args:
        folder: for the chunks.
        settings: of the run.
        max_rows: above how many rows a chunk is closed.
    """

    def __init__(self, folder: str, settings: Settings, max_rows: int = MAX_ROWS) -> None:
        super().__init__()
        self._fn = _WriteChunksFn(folder, settings, min(max_rows, MAX_ROWS))

    def expand(self, finished: beam.PCollection) -> Written:
        """PCollection of `FinishedImage`s to `Written`."""
        outputs = finished | beam.ParDo(self._fn).with_outputs(_STATISTICS, main="chunks")
        return Written(outputs.chunks, outputs[_STATISTICS])


class _WriteChunksFn(beam.DoFn):
    def __init__(self, folder: str, settings: Settings, max_rows: int) -> None:
        self._folder, self._settings, self._max_rows = folder, settings, max_rows

    def start_bundle(self) -> None:
        self._open: _OpenChunk | None = None  # of a bundle that failed: nothing is left of it
        self._statistics = Statistics()

    def process(self, image: FinishedImage) -> Iterator[Chunk]:
        if self._open is None:
            self._open = _OpenChunk(f"{self._folder}/{PREFIX}{uuid.uuid4().hex}", self._settings)
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
        self.start_bundle()

    def _closed(self, chunk: _OpenChunk) -> Chunk:
        self._open = None
        return chunk.close()


class _OpenChunk:
    """A chunk that is being written."""

    def __init__(self, path: str, settings: Settings) -> None:
        self._path, self._writer = path, ChunkWriter(path, settings)
        self._images = self._predictions = self._dead_letters = 0
        self._deadline = time.monotonic() + MAX_SECONDS

    def write(self, image: FinishedImage) -> None:
        self._writer.write(image)
        self._images += 1
        if image.result.top:
            self._predictions += len(image.listed.rows)
        else:
            self._dead_letters += len(image.listed.rows)

    @property
    def rows(self) -> int:
        return self._predictions + self._dead_letters

    def is_old(self) -> bool:
        return time.monotonic() >= self._deadline

    def close(self) -> Chunk:
        self._writer.close()
        return Chunk(self._path, self._images, self._predictions, self._dead_letters)
