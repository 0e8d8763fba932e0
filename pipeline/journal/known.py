"""Beam transform that reads the results of earlier attempts and of earlier runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import apache_beam as beam

from catalogue import storage
from catalogue.reasons import StorageError
from pipeline.journal.chunk_files import Settings, read_results
from pipeline.journal.chunk_names import is_chunk
from pipeline.journal.part_files import read_part
from pipeline.journal.reuse import usable
from pipeline.records import Result


@dataclasses.dataclass(frozen=True)
class Journals:
    """Locations of the results of earlier attempts and runs.

    Attributes:
        chunks: folder in whose subfolders earlier attempts have left their chunks.
        parts: folders of parts of finished journals.
    """

    chunks: str
    parts: tuple[str, ...] = ()


class ReadKnown(beam.PTransform):
    """Beam transform that reads results of earlier attempts and runs if they are valid under the settings of this run.

    The job lists the chunks at run time, so a job that an engine restarts finds the chunks it has already written.

    Args:
        journals: locations of the results.
        settings: settings of the run.
    """

    def __init__(self, journals: Journals, settings: Settings) -> None:
        super().__init__()
        self._journals, self._settings = journals, settings

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Read the results as a PCollection of `Result`s. Apply to the root of a pipeline."""
        return (
            begin
            | beam.Create([self._journals])
            | "Files" >> beam.FlatMap(files_of)
            | beam.Reshuffle()
            | "Results" >> beam.FlatMap(results_of, self._settings)
        )


def files_of(journals: Journals) -> Iterator[str]:
    """Yield the paths of the chunks and parts of journals. Raises StorageError."""
    yield from filter(is_chunk, files_in(journals.chunks))
    for folder in journals.parts:
        yield from files_in(folder)


def files_in(folder: str) -> Iterator[str]:
    """Yield the files in a folder; none if the folder does not exist. Raises StorageError."""
    if storage.is_remote(folder) or storage.exists(folder):
        yield from (file.location for file in storage.list_files(folder))


def results_of(path: str, settings: Settings) -> Iterator[Result]:
    """Yield the results of a chunk or part that are valid under `settings`. Unreadable or damaged files are logged."""
    try:
        if path.endswith(".parquet"):
            for then, results in read_part(path):
                yield from usable(results, then, settings)
        else:
            then, results = read_results(path)
            yield from usable(results, then, settings)
    except StorageError as error:
        logging.getLogger(__name__).warning("results in %s are not reused: %s", path, error)
