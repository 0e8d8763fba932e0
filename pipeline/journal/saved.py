"""Results that lost workers saved, for the workers that repeat their bundles.

An engine gives the work of a lost worker to another worker. Flink restarts the whole job, which then reads all saved
results. Spark and Dataflow retry only the lost bundles, so a worker looks for saved results of its own packets at the
start of a bundle. Usually there are none, as the names of the chunks already show.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence

from catalogue.reasons import StorageError
from pipeline.journal.chunk_files import Settings
from pipeline.journal.chunk_names import is_chunk, packets_named
from pipeline.journal.known import files_in, results_of
from pipeline.records import Result

_LATER = (5.0, 60.0)
"""Seconds into a bundle at which to look again: a lost worker may still be saving its results."""
_KEPT = 8

Found = collections.defaultdict[str, list[Result]]
"""Masked location -> results."""


class SavedResults:
    """Lookup of the results of a packet in the chunks that a run has written so far.

    Args:
        folder: folder of the chunks.
        settings: settings of the run.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        self._folder, self._settings = folder, settings

    def begin(self) -> None:
        """List the chunks at the start of a bundle. Chunks that name their packets are read lazily."""
        self._began, self._later = time.monotonic(), collections.deque(_LATER)
        self._seen, self._of_many = set[str](), Found(list)
        self._read = collections.OrderedDict[str, Found]()
        self._look()

    def of(self, packet: int) -> Sequence[Found]:
        """Return the usable results in the chunks of a packet. They may include results of other packets."""
        if self._later and time.monotonic() - self._began >= self._later[0]:
            self._later.popleft()
            self._look()
        found = [self._results_in(path) for path in self._paths.get(packet, ())]
        return [*found, self._of_many] if self._of_many else found

    def _look(self) -> None:
        self._paths = collections.defaultdict[int, list[str]](list)
        for path in _chunks_in(self._folder):
            packets = packets_named(path)
            for packet in packets or ():
                self._paths[packet].append(path)
            if packets is None and path not in self._seen:
                self._seen.add(path)
                for result in results_of(path, self._settings):
                    self._of_many[result.location].append(result)

    def _results_in(self, path: str) -> Found:
        """Return the results in a chunk. Recent chunks are cached, as a chunk holds several consecutive packets."""
        if path not in self._read:
            while len(self._read) >= _KEPT:
                self._read.popitem(last=False)
            self._read[path] = Found(list)
            for result in results_of(path, self._settings):
                self._read[path][result.location].append(result)
        self._read.move_to_end(path)
        return self._read[path]


def _chunks_in(folder: str) -> list[str]:
    """Return the chunks in a folder; an empty list if the folder cannot be listed, as chunks only save work."""
    try:
        return list(filter(is_chunk, files_in(folder)))
    except StorageError:
        return []
