"""What to classify: folders, globs and lists, to rows of a URI and its fields.

``--input`` may name several, each of them local or in an object store:

======  =============================================================================
folder  every file below it whose name does not begin with a dot
glob    every file that matches: ``*`` within a folder, ``**`` across folders; lists
        if it has the ending of one
list    what its lines or rows name, see `catalogue.lists.lists`; other columns are fields
======  =============================================================================

A line that names no image becomes a dead letter; it is not left out.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import itertools
import os
import pickle
import re
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from catalogue.cli.console import UserError
from catalogue.images.reader import Reason
from catalogue.lists import lists, matching
from catalogue.storage.files import is_remote
from pipeline import storage
from pipeline.metering.meter import meter
from pipeline.reading.decode import Outcome
from pipeline.records import URI_COLUMN, DeadLetter, Entry, Fields, ManifestRow
from pipeline.run_dir import tables

PARTITIONS = 1024
_WAITING_ROWS = 16 * PARTITIONS
_COUNTED_ROWS = 1000
_WRONG, _COLUMNS = "wrong", "columns"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What to classify.

    Attributes:
        inputs: folders, globs and lists.
        uri_column: the column of a list that names the image.
        base_uri: what relative URIs are relative to; None for the folder of the list they are in.
    """

    inputs: tuple[str, ...]
    uri_column: str = URI_COLUMN
    base_uri: str | None = None


class ReadManifest(beam.PTransform):
    """The rows of a manifest, the dead letters of those of its lines that name no image, and the columns of all.

    Args:
        manifest: what to read.
        folder: of the run's unfinished files.
    """

    def __init__(self, manifest: Manifest, folder: str) -> None:
        super().__init__()
        self._manifest, self._folder = manifest, folder

    def expand(self, begin: beam.pvalue.PBegin) -> tuple[Outcome, beam.PCollection]:
        """Nothing to `ManifestRow`s and `DeadLetter`s, and to one `pa.Schema` of the fields of all rows."""
        found = (
            begin
            | beam.Create(self._manifest.inputs)
            | "Parts" >> beam.FlatMap(parts, self._manifest.uri_column)
            | beam.Reshuffle()
            | "Rows"
            >> beam.FlatMap(_tagged_rows, self._manifest, self._folder).with_outputs(_WRONG, _COLUMNS, main="rows")
        )
        columns = found[_COLUMNS] | "Columns" >> beam.CombineGlobally(tables.unified)
        return Outcome(found.rows, found[_WRONG]), columns


class GroupByLocation(beam.PTransform):
    """Rows to `Entry`s: each image once, however often it is listed. Spreads the images over all workers too.

    The rows travel in packed blocks of neighbours in a hash of their location, so that a runner that keeps in memory
    what it groups, as Beam's local one does, needs some 40 bytes for each and not a thousand.
    """

    def expand(self, found: beam.PCollection) -> beam.PCollection:
        """PCollection of `ManifestRow`s to a PCollection of `Entry`s."""
        return (
            found
            | "Pack" >> beam.ParDo(_PackFn()).with_output_types(tuple[int, bytes])
            | beam.GroupByKey()
            | "Unpack" >> beam.FlatMapTuple(lambda _, blocks: entries(blocks))
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


def pack(listed: Sequence[ManifestRow]) -> bytes:
    """Rows as few bytes."""
    plain = [(row.location, row.uri if row.uri != row.location else None, row.fields) for row in listed]
    return zlib.compress(pickle.dumps(plain, pickle.HIGHEST_PROTOCOL), level=1)


def entries(blocks: Iterable[bytes]) -> Iterator[Entry]:
    """Packed rows to `Entry`s."""
    found: dict[str, list[tuple[str, Fields]]] = {}
    for block in blocks:
        for location, uri, fields in pickle.loads(zlib.decompress(block)):
            found.setdefault(location, []).append((location if uri is None else uri, fields))
    for location in list(found):
        yield Entry(location, tuple(found.pop(location)))


def check(manifest: Manifest) -> None:
    """Reads the first rows of each input, so that what is wrong is said before anything is started.

    Raises:
        UserError: there is no such input, it names no images, or it is in no form that is read here.
    """
    for where in manifest.inputs:
        storage.check(where)
        try:
            first = next(rows(where, manifest), None)
        except (*storage.ERRORS, re.error, csv.Error, pa.ArrowException) as error:
            raise UserError(f"--input {where} cannot be read: {error}") from error
        if first is None:
            missing = is_remote(where) and not _is_list(where) and not matching.is_glob(where)
            raise UserError(f"--input {where} {'does not exist' if missing else 'names no images'}")
        if _holds_lists(where):
            raise UserError(f"--input {where} holds lists, not images: give a glob of them, such as {where}/*.csv")


def _holds_lists(where: str) -> bool:
    """Whether the first files of a folder are all lists, as data warehouses write them."""
    if matching.is_glob(where) or _is_list(where):
        return False
    return all(map(lists.is_one_by_name, itertools.islice(matching.in_folder(where), 20)))


def names(manifest: Manifest, path: str) -> bool:
    """Whether one of the folders and globs would name the file `path`, if it existed."""
    return any(matching.names(where, path) for where in manifest.inputs)


def rows(where: str, manifest: Manifest) -> Iterator[ManifestRow | DeadLetter]:
    """The rows of one input, in a stream."""
    for part in parts(where, manifest.uri_column):
        yield from rows_of(part, manifest)


def parts(where: str, uri_column: str) -> Iterator[str | lists.Part]:
    """Divides an input where it can be divided: the parts of a list, or a folder or glob as it is.

    Raises:
        UserError: there is no such input, or it is a list of a kind that is not read here.
    """
    if _is_list(where):
        yield from lists.parts(lists.recognise(where, uri_column))
    elif matching.is_glob(where) and lists.is_one_by_name(where):
        for path in matching.matches(where):
            yield from lists.parts(lists.recognise(path, uri_column))
    else:
        yield where


def _is_list(where: str) -> bool:
    if is_remote(where):
        return not where.endswith("/") and FileSystems.exists(where)
    if os.path.exists(where) or matching.is_glob(where):
        return os.path.isfile(where)
    raise UserError(f"--input {where} does not exist: give a folder, a glob, or a list of URIs")


def rows_of(part: str | lists.Part, manifest: Manifest) -> Iterator[ManifestRow | DeadLetter]:
    """The rows of a part, in a stream."""
    if isinstance(part, str):
        paths = matching.matches(part) if matching.is_glob(part) else matching.in_folder(part)
        yield from (_row(path, {}, "", "the file's name") for path in paths)
        return
    base = part.list.path.rpartition("/")[0] if manifest.base_uri is None else manifest.base_uri.rstrip("/")
    noun, name = "row" if part.list.kind == lists.PARQUET else "line", part.list.path
    for record in lists.records(part, manifest.uri_column):
        where, fields = f"{noun} {record.number} of {name}", record.columns
        if record.problem:
            yield _bad_row("", {}, f"{where}: {record.problem}")
            continue
        uri = fields.pop(manifest.uri_column, None)
        if isinstance(uri, str):
            yield _row(uri.strip(), fields, base, where)
        else:
            yield _bad_row("", fields, f"{where} has no URI" if uri is None else f"{where}: the URI {uri!r} is no text")


def _tagged_rows(part: str | lists.Part, manifest: Manifest, folder: str) -> Iterator[Any]:
    """The rows of a part, the wrong ones tagged, and last the columns of them all."""
    columns = tables.ColumnTypes(pa.schema([]) if isinstance(part, str) else part.list.schema)
    for row in _counted(rows_of(part, manifest), folder):
        columns.add(row.fields)
        yield row if isinstance(row, ManifestRow) else beam.pvalue.TaggedOutput(_WRONG, row)
    yield beam.pvalue.TaggedOutput(_COLUMNS, columns.schema())


def _counted(found: Iterable[ManifestRow | DeadLetter], folder: str) -> Iterator[ManifestRow | DeadLetter]:
    """The same rows; how many there are is counted for those who watch."""
    own, counts = meter(folder), collections.Counter[str]()
    with own.working():
        for row in found:
            counts["listed"] += 1
            counts["wrong"] += isinstance(row, DeadLetter)
            if counts["listed"] >= _COUNTED_ROWS:
                own.count(**counts)
                counts.clear()
            yield row
        own.count(**counts)


def _row(uri: str, fields: dict[str, Any], base: str, where: str) -> ManifestRow | DeadLetter:
    if not _is_unicode(uri) or not _is_unicode_within(fields):
        return _bad_row(uri, fields, f"{where} is not UTF-8")
    if not uri:
        return _bad_row(uri, fields, f"{where} has no URI")
    try:
        return ManifestRow(uri, _location(uri, base), fields)
    except ValueError as error:  # a host that is none, below a base on the web
        return _bad_row(uri, fields, f"{where}: {uri!r} is no URI: {error}")


def _location(uri: str, base: str) -> str:
    """Where an image is: its URI made absolute, with its scheme in small letters and without ``..``."""
    uri = storage.without_file_scheme(uri)
    if is_remote(uri):
        scheme, _, rest = uri.partition("://")
        return f"{scheme.lower()}://{rest}"
    if base.startswith(("http://", "https://")):
        return urllib.parse.urljoin(f"{base}/", uri)
    location = uri if uri.startswith("/") else f"{base}/{uri}"
    if not is_remote(location):
        return os.path.normpath(location)
    scheme, _, path = location.partition("://")
    return f"{scheme}://{os.path.normpath(path)}" if "./" in uri else location


def _bad_row(uri: str, fields: dict[str, Any], message: str) -> DeadLetter:
    reason = Reason.BAD_MANIFEST_ROW
    return DeadLetter(_shown(uri), reason.code, reason.transient, _shown(message), _shown_within(fields))


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _is_unicode_within(value: Any) -> bool:
    """Whether all text in a value, however deep, can be written as UTF-8."""
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, dict):
        for name, inner in value.items():  # noqa: SIM110, a generator would take twice as long and this is for every line
            if not (_is_unicode(name) and _is_unicode_within(inner)):
                return False
        return True
    return not isinstance(value, list) or all(map(_is_unicode_within, value))


def _shown(text: str) -> str:
    """`text` with what is no character replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown_within(value: Any) -> Any:
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, dict):
        return {_shown(name): _shown_within(inner) for name, inner in value.items()}
    return [_shown_within(inner) for inner in value] if isinstance(value, list) else value
