"""Beam transform that groups the rows of a manifest by image, and spreads the images over all workers."""

from __future__ import annotations

import collections
import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.records import Fields, ListedImage, ManifestRow

PARTITIONS = 1024
_WAITING_ROWS = 16 * PARTITIONS


class GroupByLocation(beam.PTransform):
    """Rows to `ListedImage`s: each image once, however often it is listed. Spreads the images over all workers too.

    The rows travel in packed blocks of neighbours in a hash of their location, so that a runner that keeps in memory
    what it groups, as Beam's local one does, needs some 40 bytes for each and not a thousand.
    """

    def expand(self, found: beam.PCollection) -> beam.PCollection:
        """PCollection of `ManifestRow`s to a PCollection of `ListedImage`s."""
        return (
            found
            | "Pack" >> beam.ParDo(_PackFn()).with_output_types(tuple[int, bytes])
            | beam.GroupByKey()
            | "Unpack" >> beam.FlatMapTuple(lambda _, blocks: listed_images(blocks))
        )


class _PackFn(beam.DoFn):
    """Rows to packed blocks, each of one partition."""

    def start_bundle(self) -> None:
        self._waiting: dict[int, list[ManifestRow]] = collections.defaultdict(list)
        self._count = 0

    def process(self, row: ManifestRow) -> Iterator[tuple[int, bytes]]:
        self._waiting[zlib.crc32(row.location.encode()) % PARTITIONS].append(row)
        self._count += 1
        if self._count >= _WAITING_ROWS:
            yield from self._packed()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(GlobalWindows.windowed_value_at_end_of_window, self._packed())

    def _packed(self) -> Iterator[tuple[int, bytes]]:
        for partition, waiting in self._waiting.items():
            yield partition, pack(waiting)
        self.start_bundle()


def pack(rows: Sequence[ManifestRow]) -> bytes:
    """Rows as few bytes."""
    plain = [(row.location, row.uri if row.uri != row.location else None, row.fields) for row in rows]
    return zlib.compress(pickle.dumps(plain, pickle.HIGHEST_PROTOCOL), level=1)


def listed_images(blocks: Iterable[bytes]) -> Iterator[ListedImage]:
    """Packed rows to `ListedImage`s."""
    found: dict[str, list[tuple[str, Fields]]] = {}
    for block in blocks:
        for location, uri, fields in pickle.loads(zlib.decompress(block)):
            found.setdefault(location, []).append((location if uri is None else uri, fields))
    for location in list(found):
        yield ListedImage(location, tuple(found.pop(location)))
