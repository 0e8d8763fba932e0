"""Results that workers have saved before they were lost, for whoever does their work again.

An engine gives the work of a lost worker to another one. Flink starts the whole job again, which reads everything that
was saved before. Spark and Dataflow repeat only the lost bundles, so a worker looks for saved results of its own
partitions when it starts a bundle. Normally there are none, and the names of the chunks show that.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

from catalogue.reasons import StorageError
from pipeline.journal.chunk_files import Settings
from pipeline.journal.chunk_names import is_chunk, partitions_named
from pipeline.journal.known import files_in, results_of
from pipeline.manifest.partitions import partition_of
from pipeline.records import Result


class SavedResults:
    """Finds results of one partition after another in the chunks that a run has written so far.

    Args:
        folder: of the chunks.
        settings: of the run.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        self._folder, self._settings = folder, settings

    def look(self) -> None:
        """Looks which chunks there are. They are read when they are needed, but for those whose names do not tell."""
        self._paths = collections.defaultdict[int, list[str]](list)
        self._results = collections.defaultdict[int, list[Result]](list)
        for path in _chunks_in(self._folder):
            partitions = partitions_named(path)
            for partition in partitions or ():
                self._paths[partition].append(path)
            if partitions is None:
                for result in results_of(path, self._settings):
                    self._results[partition_of(result.location)].append(result)

    def of(self, partition: int) -> Iterator[Result]:
        """The results of a partition that hold under the settings of the run."""
        yield from self._results.pop(partition, ())
        for path in self._paths.pop(partition, ()):
            for result in results_of(path, self._settings):
                if partition_of(result.location) == partition:
                    yield result


def _chunks_in(folder: str) -> Iterator[str]:
    """The chunks in a folder. None if it cannot be listed: they would only save work."""
    try:
        yield from filter(is_chunk, files_in(folder))
    except StorageError:
        return
