"""Beam transform that merges chunks of the journal into parts: files of rows in the output format."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import pyarrow as pa

from pipeline.journal.chunk_files import read_images
from pipeline.records import Chunk, DeadLetter, FinishedImage, Part, Prediction
from pipeline.run_dir import formats
from pipeline.run_dir.layout import DEAD_LETTERS, PREDICTIONS
from pipeline.run_dir.run import Run


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The chunks whose rows become one part: its folder, its number there, and the paths of the chunks."""

    folder: str
    number: int
    chunks: tuple[str, ...]


class WriteParts(beam.PTransform):
    """Merges chunks into parts of about as many rows as the run wants, however many bundles the runner made.

    Each part is written by one worker, so that nobody has to hold more than a batch of rows.

    Args:
        run: what is known of it.
        columns: a PCollection of the one schema of all fields.
    """

    def __init__(self, run: Run, columns: beam.PCollection) -> None:
        super().__init__()
        self._run, self._columns = run, columns

    def expand(self, chunks: beam.PCollection) -> beam.PCollection:
        """PCollection of `Chunk`s to a PCollection of `Part`s."""
        return (
            chunks
            | "All chunks" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "Assign" >> beam.FlatMap(assignments, self._run.rows_per_part)
            | beam.Reshuffle()
            | "Merge" >> beam.Map(merge, run=self._run, columns=beam.pvalue.AsSingleton(self._columns))
        )


def assignments(chunks: Iterable[Chunk], rows_per_part: int) -> Iterator[Assignment]:
    """Divides chunks among parts. A folder has at least one part, if only an empty one."""
    ordered = sorted(chunks, key=lambda chunk: chunk.path)
    for folder, rows_of in ((PREDICTIONS, _predictions), (DEAD_LETTERS, _dead_letters)):
        own = [chunk for chunk in ordered if rows_of(chunk)]
        for number, paths in enumerate(_divided([(chunk.path, rows_of(chunk)) for chunk in own], rows_per_part)):
            yield Assignment(folder, number, paths)


def _predictions(chunk: Chunk) -> int:
    return chunk.predictions


def _dead_letters(chunk: Chunk) -> int:
    return chunk.dead_letters


def _divided(chunks: Sequence[tuple[str, int]], rows_per_part: int) -> list[tuple[str, ...]]:
    """Neighbouring chunks together, as long as their rows fit into a part."""
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
    """Writes one part. It gets its place and its name when the run is committed.

    Raises:
        StorageError: a chunk cannot be read, or the part cannot be written.
    """
    path = f"{run.temporary}/{assignment.folder}-{uuid.uuid4().hex}.{run.output_format}"
    writer, rows = formats.writer(path, assignment.folder, columns, run.top_k), 0
    for chunk in assignment.chunks:
        for image in read_images(chunk):
            for row in _rows(image, assignment.folder, run.model.id):
                writer.write(row.to_row())
                rows += 1
    writer.close()
    return Part(assignment.folder, assignment.number, path, rows)


def _rows(image: FinishedImage, folder: str, model_id: str) -> Iterator[Prediction] | Iterator[DeadLetter]:
    return image.predictions(model_id) if folder == PREDICTIONS else image.dead_letters()
