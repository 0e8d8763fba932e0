"""Beam transform that groups the rows of a manifest by image, and spreads the images over all workers."""

from __future__ import annotations

import collections
import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from catalogue.cli.masking import masked_key
from pipeline.records import Fields, ListedImage, ManifestRow, Result

PARTITIONS = 1024
_WAITING = 16 * PARTITIONS


class GroupByLocation(beam.PTransform):
    """Rows and known results to `ListedImage`s: each image once, however often it is listed. Spreads them over workers.

    Both travel in packed blocks of neighbours in a hash of their location, so that a runner that keeps in memory what
    it groups, as Beam's local one does, needs some 40 bytes for each and not a thousand.
    """

    def expand(self, found: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """PCollections of `ManifestRow`s and of `Result`s to a PCollection of `ListedImage`s."""
        rows, known = found
        packed = (
            rows | "Pack rows" >> beam.ParDo(_PackFn()).with_output_types(tuple[int, bytes]),
            known | "Pack known results" >> beam.ParDo(_PackFn()).with_output_types(tuple[int, bytes]),
        )
        return (
            packed
            | beam.Flatten()
            | beam.GroupByKey()
            | "Unpack" >> beam.FlatMapTuple(lambda _, blocks: listed_images(blocks))
        )


class _PackFn(beam.DoFn):
    """Rows or results to packed blocks, each of one partition."""

    def start_bundle(self) -> None:
        self._waiting: dict[int, list[ManifestRow | Result]] = collections.defaultdict(list)
        self._count = 0

    def process(self, one: ManifestRow | Result) -> Iterator[tuple[int, bytes]]:
        key = one.location if isinstance(one, Result) else masked_key(one.location)
        self._waiting[zlib.crc32(key.encode()) % PARTITIONS].append(one)
        self._count += 1
        if self._count >= _WAITING:
            yield from self._packed()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(GlobalWindows.windowed_value_at_end_of_window, self._packed())

    def _packed(self) -> Iterator[tuple[int, bytes]]:
        for partition, waiting in self._waiting.items():
            yield partition, pack(waiting)
        self.start_bundle()


def pack(waiting: Sequence[ManifestRow | Result]) -> bytes:
    """Rows or results as few bytes."""
    if isinstance(waiting[0], Result):
        plain = [tuple(vars(result).values()) for result in waiting]
        content = ("results", plain)
    else:
        plain = [
            (row.location, row.uri if row.uri != row.location else None, row.fields, row.version)
            for row in waiting
            if isinstance(row, ManifestRow)
        ]
        content = ("rows", plain)
    return zlib.compress(pickle.dumps(content, pickle.HIGHEST_PROTOCOL), level=1)


def listed_images(blocks: Iterable[bytes]) -> Iterator[ListedImage]:
    """Packed rows and results to `ListedImage`s. Results of images that no row names are left out."""
    rows: dict[str, list[tuple[str, Fields]]] = {}
    versions: dict[str, str] = {}
    known: dict[str, list[Result]] = {}
    for block in blocks:
        kind, plain = pickle.loads(zlib.decompress(block))
        if kind == "results":
            for values in plain:
                known.setdefault(values[0], []).append(Result(*values))
            continue
        for location, uri, fields, version in plain:
            rows.setdefault(location, []).append((location if uri is None else uri, fields))
            if version is not None:
                versions[location] = version
    for location in list(rows):
        found = tuple(known.pop(masked_key(location), ())) if known else ()
        yield ListedImage(location, tuple(rows.pop(location)), versions.pop(location, None), found)
