"""Beam transform that groups the rows of a manifest by image and distributes the images over all workers."""

from __future__ import annotations

import collections
import pickle
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from catalogue.cli.masking import masked_key
from pipeline.journal.saved import SavedResults
from pipeline.manifest.partitions import PARTITIONS, packet_of, partition_of
from pipeline.records import Fields, ListedImage, ManifestRow, Result

_WAITING = 16 * PARTITIONS
"""Number of rows buffered before packing. A row takes 22 bytes; with a buffer four times as large, it would take 16."""

Packed = bytes | tuple[str, int]
"""Packed rows or results of a partition: a block, or the path of a file of blocks and the offset of the last block."""
_HEADER = struct.Struct(">qQ")
"""Header of a block in a file: offset of the partition's previous block, or `_NO_PLACE`, and length of this block."""
_NO_PLACE = -1


class GroupByLocation(beam.PTransform):
    """Beam transform that groups rows and known results into `ListedImage`s, one per image, and distributes them.

    Rows and results are packed into blocks, each of one partition, see `pipeline.manifest.partitions`. A distributed
    engine shuffles to disk: the blocks are shuffled by partition, and then the packets of each partition, which are
    numerous enough for all workers to get equal shares. Beam's local runner keeps groups in memory and divides them
    evenly among its workers: the blocks are written to files, and only the paths and offsets are shuffled.

    Args:
        folder: local folder for the files of blocks; None on a distributed engine.
        saved: lookup of the results that lost workers have saved for a packet.
    """

    def __init__(self, folder: str | None, saved: SavedResults) -> None:
        super().__init__()
        self._folder, self._saved = folder, saved

    def expand(self, found: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Group PCollections of `ManifestRow`s and of `Result`s into a PCollection of `ListedImage`s."""
        rows, known = found
        grouped = (
            (
                rows | "Pack rows" >> beam.ParDo(_PackFn(self._folder)),
                known | "Pack known results" >> beam.ParDo(_PackFn(self._folder)),
            )
            | beam.Flatten()
            | beam.GroupByKey()
        )
        if self._folder is not None:
            return grouped | "Unpack" >> beam.FlatMapTuple(lambda _, packed: listed_images(packed))
        return (
            grouped
            | "Packets" >> beam.FlatMapTuple(lambda _, packed: packets(packed))
            | "Spread" >> beam.GroupByKey()
            | "Unpack" >> beam.ParDo(_UnpackFn(self._saved))
        )


class _PackFn(beam.DoFn):
    """Packs rows or results into blocks, each of one partition."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def start_bundle(self) -> None:
        self.teardown()  # close the file of a failed bundle
        self._waiting: dict[int, list[ManifestRow | Result]] = collections.defaultdict(list)
        self._last: dict[int, int] = {}
        self._count = 0

    def process(self, one: ManifestRow | Result) -> Iterator[tuple[int, Packed]]:
        key = one.location if isinstance(one, Result) else masked_key(one.location)
        self._waiting[partition_of(key)].append(one)
        self._count += 1
        if self._count >= _WAITING:
            yield from self._packed()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        windowed = GlobalWindows.windowed_value_at_end_of_window
        yield from map(windowed, self._packed())
        if self._file:
            path = self._file.name
            yield from (windowed((partition, (path, place))) for partition, place in self._last.items())
        self.teardown()

    def teardown(self) -> None:
        if self._file:
            self._file.close()
        self._file = None

    def _packed(self) -> Iterator[tuple[int, Packed]]:
        for partition, waiting in self._waiting.items():
            block = pack(waiting)
            if self._folder is None:
                yield partition, block
            else:
                self._write(partition, block)
        self._waiting.clear()
        self._count = 0

    def _write(self, partition: int, block: bytes) -> None:
        if self._file is None:
            self._file = open(f"{self._folder}/blocks-{uuid.uuid4().hex}", "wb")
        place = self._file.tell()
        self._file.write(_HEADER.pack(self._last.get(partition, _NO_PLACE), len(block)))
        self._file.write(block)
        self._last[partition] = place


class _UnpackFn(beam.DoFn):
    """Unpacks packets into images, each with the results that earlier attempts at the bundle have saved."""

    def __init__(self, saved: SavedResults) -> None:
        self._saved = saved

    def start_bundle(self) -> None:
        self._saved.begin()

    def process(self, packet: tuple[int, Iterable[bytes]]) -> Iterator[ListedImage]:
        number, packed = packet
        saved = self._saved.of(number)
        for block in packed:
            for location, rows, version, known in pickle.loads(zlib.decompress(block)):
                key = masked_key(location) if saved else ""
                more = tuple(result for found in saved for result in found.get(key, ()))
                yield ListedImage(location, rows, version, tuple(map(Result._make, known)) + more, number)


def pack(waiting: Sequence[ManifestRow | Result]) -> bytes:
    """Serialize and compress rows or results."""
    content: tuple[str, list[Any]]
    if isinstance(waiting[0], Result):
        content = "results", [tuple(result) for result in waiting if isinstance(result, Result)]
    else:
        rows = (row for row in waiting if isinstance(row, ManifestRow))
        content = (
            "rows",
            [(row.location, row.uri if row.uri != row.location else None, row.fields, row.version) for row in rows],
        )
    return zlib.compress(pickle.dumps(content, pickle.HIGHEST_PROTOCOL), level=1)


def packets(packed: Iterable[Packed]) -> Iterator[tuple[int, bytes]]:
    """Divide the packed rows and results of a partition into packets. Yields the number and images of each packet."""
    images = list(listed_images(packed))
    found = collections.defaultdict[int, list[Any]](list)
    for image in images:
        known = [tuple(result) for result in image.known]
        number = packet_of(masked_key(image.location), len(images))
        found[number].append((image.location, image.rows, image.version, known))
    for number, content in found.items():
        yield number, zlib.compress(pickle.dumps(content, pickle.HIGHEST_PROTOCOL), level=1)


def listed_images(packed: Iterable[Packed]) -> Iterator[ListedImage]:
    """Group packed rows and results into `ListedImage`s. Results are omitted if no row names their image."""
    rows: dict[str, list[tuple[str, Fields]]] = {}
    versions: dict[str, str] = {}
    known: dict[str, list[Result]] = {}
    for block in _blocks_of(packed):
        kind, plain = pickle.loads(zlib.decompress(block))
        if kind == "results":
            for values in plain:
                known.setdefault(values[0], []).append(Result._make(values))
            continue
        for location, uri, fields, version in plain:
            rows.setdefault(location, []).append((location if uri is None else uri, fields))
            if version is not None:
                versions[location] = version
    for location in list(rows):
        found = tuple(known.pop(masked_key(location), ())) if known else ()
        yield ListedImage(location, tuple(rows.pop(location)), versions.pop(location, None), found)


def _blocks_of(packed: Iterable[Packed]) -> Iterator[bytes]:
    for one in packed:
        if isinstance(one, bytes):
            yield one
            continue
        path, place = one
        with open(path, "rb") as file:
            places = list(_places(file, place))
            for start, length in reversed(places):
                file.seek(start)
                yield file.read(length)


def _places(file: BinaryIO, place: int) -> Iterator[tuple[int, int]]:
    """Yield the start and length of each block of a partition, the last block first."""
    while place != _NO_PLACE:
        file.seek(place)
        start = place + _HEADER.size
        place, length = _HEADER.unpack(file.read(_HEADER.size))
        yield start, length
