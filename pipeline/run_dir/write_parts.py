"""Beam transform that merges chunks into parts: rows in the output format, and the finished journal."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import pyarrow as pa

from pipeline.journal.chunk_files import read_images, read_results
from pipeline.journal.part_files import write_part
from pipeline.records import Chunk, DeadLetter, FinishedImage, Part, Prediction, Result
from pipeline.run_dir import formats
from pipeline.run_dir.layout import DEAD_LETTERS, JOURNAL, PREDICTIONS
from pipeline.run_dir.run import Run


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The chunks whose rows become one part.

    Attributes:
        folder: folder of the part.
        number: number of the part in its folder, from 0.
        chunks: paths of the chunks.
        digest: digest of the paths of all chunks of the run. An engine that recomputes the chunks gets other paths, and
            parts of both computations must not be mixed.
    """

    folder: str
    number: int
    chunks: tuple[str, ...]
    digest: str


class WriteParts(beam.PTransform):
    """Beam transform that merges chunks into parts of about `Run.rows_per_part` rows, regardless of the bundles.

    Each part is written by one worker, which holds at most a chunk and a batch of rows in memory.

    Args:
        run: settings of the run.
        columns: PCollection with the schema of all fields as its only element.
    """

    def __init__(self, run: Run, columns: beam.PCollection) -> None:
        super().__init__()
        self._run, self._columns = run, columns

    def expand(self, chunks: beam.PCollection) -> beam.PCollection:
        """Turn a PCollection of `Chunk`s into a PCollection of `Part`s."""
        return (
            chunks
            | "All chunks" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "Assign" >> beam.FlatMap(assignments, self._run.rows_per_part)
            | beam.Reshuffle()
            | "Merge" >> beam.Map(merge, run=self._run, columns=beam.pvalue.AsSingleton(self._columns))
        )


def assignments(chunks: Iterable[Chunk], rows_per_part: int) -> Iterator[Assignment]:
    """Divide chunks among parts. Each folder gets at least one part, even if it is empty."""
    ordered = sorted(chunks, key=lambda chunk: chunk.path)
    digest = hashlib.sha256("\n".join(chunk.path for chunk in ordered).encode()).hexdigest()
    for folder, rows_of in ((PREDICTIONS, _predictions), (DEAD_LETTERS, _dead_letters), (JOURNAL, _images)):
        own = [chunk for chunk in ordered if rows_of(chunk)]
        for number, paths in enumerate(_divided([(chunk.path, rows_of(chunk)) for chunk in own], rows_per_part)):
            yield Assignment(folder, number, paths, digest)


def _predictions(chunk: Chunk) -> int:
    return chunk.predictions


def _dead_letters(chunk: Chunk) -> int:
    return chunk.dead_letters


def _images(chunk: Chunk) -> int:
    return chunk.images


def _divided(chunks: Sequence[tuple[str, int]], rows_per_part: int) -> list[tuple[str, ...]]:
    """Group consecutive chunks as long as their rows fit into a part."""
    parts: list[list[str]] = [[]]
    rows = 0
    for path, own in chunks:
        if parts[-1] and rows + own > rows_per_part:
            parts.append([])
            rows = 0
        parts[-1].append(path)
        rows += own
    return [tuple(part) for part in parts]


def merge(assignment: Assignment, run: Run, columns: pa.Schema) -> Part:
    """Write one part. It gets its final name when the run is committed.

    Raises:
        StorageError: a chunk cannot be read, or the part cannot be written.
    """
    path = f"{run.temporary}/{assignment.folder}-{uuid.uuid4().hex}"
    if assignment.folder == JOURNAL:
        path = f"{path}.parquet"
        rows = write_part(path, _results(assignment.chunks), run.settings)
    else:
        path = f"{path}.{run.output_format}"
        rows = _write_rows(path, assignment, run, columns)
    return Part(assignment.folder, assignment.number, path, rows, assignment.digest)


def _write_rows(path: str, assignment: Assignment, run: Run, columns: pa.Schema) -> int:
    writer, count = formats.writer(path, assignment.folder, columns, run.top_k), 0
    for chunk in assignment.chunks:
        for image in read_images(chunk):
            for row in _rows(image, assignment.folder, run.model.id):
                writer.write(row.to_row())
                count += 1
    writer.close()
    return count


def _rows(image: FinishedImage, folder: str, model_id: str) -> Iterator[Prediction] | Iterator[DeadLetter]:
    return image.predictions(model_id) if folder == PREDICTIONS else image.dead_letters()


def _results(chunks: Iterable[str]) -> Iterator[Result]:
    """Yield the results of images, but not of lines that name no image, as no later run could reuse those."""
    for chunk in chunks:
        yield from (result for result in read_results(chunk)[1] if result.location)
