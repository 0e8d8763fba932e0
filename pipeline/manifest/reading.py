"""Beam transform that reads a manifest into rows, dead letters, and the columns of all rows.

A line that names no image becomes a dead letter, a `FinishedImage` without a location, unless the settings skip it.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.masking import masked
from catalogue.lists import inputs
from catalogue.lists.inputs import BadRow, HiddenFiles, Row
from catalogue.lists.values import POSITION, ListColumns, Part
from catalogue.reasons import StorageError
from catalogue.storage import globs
from pipeline.config import Manifest
from pipeline.metering.meter import MeterHandle
from pipeline.reading.outcome import Outcome
from pipeline.records import (
    FinishedImage,
    LeftOut,
    ListedImage,
    ManifestRow,
    Result,
    Whole,
    row_key,
    total_left_out,
    total_whole,
)
from pipeline.run_dir import columns as column_types

_COUNTED_ROWS = 1000
_WRONG, _COLUMNS, _LEFT_OUT, _WHOLE = "wrong", "columns", "left out", "whole"


class Listing(NamedTuple):
    """Contents of a manifest, as PCollections.

    Attributes:
        rows: `ManifestRow`s, and `FinishedImage`s for the lines that name no image.
        columns: a single `pa.Schema` of the fields of all rows.
        left_out: a single `LeftOut`.
        whole: a single `Whole`; all zero unless a shard is read.
    """

    rows: Outcome
    columns: beam.PCollection
    left_out: beam.PCollection
    whole: beam.PCollection


class ReadManifest(beam.PTransform):
    """Beam transform that reads the rows of a manifest, its lines that name no image, and the columns of all rows.

    Args:
        manifest: manifest to read.
        meter: handle to the meter of the run.
        begins: callback at the start or restart of the job; if the callback returns False, nothing is read.
        needs_columns: whether to find the columns, which JSON Lines output does not need.
    """

    def __init__(
        self,
        manifest: Manifest,
        meter: MeterHandle,
        begins: Callable[[], bool] = lambda: True,
        *,
        needs_columns: bool = True,
    ) -> None:
        super().__init__()
        self._manifest, self._meter, self._needs_columns = manifest, meter, needs_columns
        self._begins = begins

    def expand(self, begin: beam.pvalue.PBegin) -> Listing:
        """Read the manifest. Apply to the root of a pipeline."""
        found = (
            begin
            | beam.Create([self._manifest.inputs])
            | "Begin" >> beam.FlatMap(_inputs, self._begins)
            | "Parts" >> beam.FlatMap(_parts_of, self._manifest)
            | beam.Reshuffle()
            | "Rows"
            >> beam.FlatMap(_tagged_rows, self._manifest, self._meter, self._needs_columns).with_outputs(
                _WRONG, _COLUMNS, _LEFT_OUT, _WHOLE, main="rows"
            )
        )
        columns = found[_COLUMNS] | "Columns" >> beam.CombineGlobally(column_types.unified)
        left_out = found[_LEFT_OUT] | "Left out" >> beam.CombineGlobally(total_left_out)
        whole = found[_WHOLE] | "Whole" >> beam.CombineGlobally(total_whole)
        return Listing(Outcome(found.rows, found[_WRONG]), columns, left_out, whole)


def _inputs(inputs: tuple[str, ...], begins: Callable[[], bool]) -> tuple[str, ...]:
    return inputs if begins() else ()


def _parts_of(where: str, manifest: Manifest) -> Iterator[str | Part]:
    """Yield the parts of an input. Raises UserError."""
    with _readable(where):
        yield from inputs.parts_of(where, list_columns(manifest))


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    """Convert errors in reading an input into a UserError that names the input."""
    try:
        yield
    except (StorageError, re.error, csv.Error, pa.ArrowException) as error:
        raise UserError(f"--input {where} cannot be read: {error}") from error


def list_columns(manifest: Manifest) -> ListColumns:
    """Return the columns that a list must have."""
    return ListColumns(manifest.uri_column, hint="; choose another with --uri-column", separator=manifest.uri_separator)


def check(manifest: Manifest) -> None:
    """Read the first rows of each input, to report errors before the run starts.

    Raises:
        UserError: an input does not exist, names no images, or cannot be read.
    """
    for where in manifest.inputs:
        with _readable(where):
            first = next((row for row in rows(where, manifest) if not isinstance(row, LeftOut)), None)
            if first is None:
                is_missing = storage.is_remote(where) and not inputs.is_list(where) and not storage.is_glob(where)
                raise UserError(f"--input {where} {'does not exist' if is_missing else 'names no images'}")
            lists = inputs.glob_of_lists(where)
            if lists:
                raise UserError(f"--input {where} contains lists, not images: give a glob of lists, such as {lists}")


def names(manifest: Manifest, path: str) -> bool:
    """Return whether an input folder or glob would match the file `path` if the file existed."""
    return any(globs.names(where, path) for where in manifest.inputs)


def rows(where: str, manifest: Manifest) -> Iterator[ManifestRow | FinishedImage | LeftOut]:
    """Stream the rows of one input. Raises UserError."""
    for part in _parts_of(where, manifest):
        yield from rows_of(part, manifest)


def rows_of(part: str | Part, manifest: Manifest) -> Iterator[ManifestRow | FinishedImage | LeftOut]:
    """Stream the rows of a part of an input. Raises UserError."""
    with _readable(part if isinstance(part, str) else part.list.path):
        for row in inputs.rows(part, list_columns(manifest), manifest.base_uri, manifest.access):
            yield _element(row, manifest)


def _element(row: Row | BadRow | HiddenFiles, manifest: Manifest) -> ManifestRow | FinishedImage | LeftOut:
    if isinstance(row, Row):
        return ManifestRow(row.uri, row.location, row.columns, row.version)
    if isinstance(row, HiddenFiles):
        return LeftOut(hidden_files=sum(row.files.values()))
    if row.is_without_uri and manifest.skip_empty_uri:
        return LeftOut(rows_without_uri=1)
    return dead_letter(row)


def dead_letter(row: BadRow) -> FinishedImage:
    """Return the dead letter of a row that names no image, or of a folder that cannot be listed."""
    listed = ListedImage("", ((_as_utf8(row.uri), _as_utf8(row.columns)),))
    message = masked(_as_utf8(row.message))
    return FinishedImage(listed, Result("", reason=row.reason.code, transient=row.reason.transient, message=message))


def _tagged_rows(part: str | Part, manifest: Manifest, meter: MeterHandle, needs_columns: bool) -> Iterator[Any]:
    """Yield the rows of a part that belong to the shard, with invalid rows tagged, then tagged summaries.

    The summaries are the columns of the part, its `LeftOut` counts and its `Whole` fingerprint.
    """
    declared = _schema_of(part, manifest) if needs_columns else pa.schema([])
    columns, left_out, count, digest = column_types.ColumnTypes(declared), LeftOut(), 0, 0

    def own_rows() -> Iterator[ManifestRow | FinishedImage | LeftOut]:
        """Yield the rows of the shard. All rows count toward the columns, so all shards have the same columns."""
        nonlocal count, digest
        shard = manifest.shard
        for row in rows_of(part, manifest):
            if isinstance(row, LeftOut):
                if shard is None or shard.index == 1:
                    yield row
                continue
            columns.add(row.fields if isinstance(row, ManifestRow) else row.listed.rows[0][1])
            if shard:
                key = row_key(row.location if isinstance(row, ManifestRow) else repr(row.listed.rows))
                count, digest = count + 1, digest + key
            if shard is None or shard.has(key):
                yield row

    for row in _counted(part, own_rows(), meter):
        if isinstance(row, LeftOut):
            left_out = total_left_out((left_out, row))
        elif isinstance(row, ManifestRow):
            yield row
        else:
            yield beam.pvalue.TaggedOutput(_WRONG, row)
    yield beam.pvalue.TaggedOutput(_COLUMNS, columns.schema())
    yield beam.pvalue.TaggedOutput(_LEFT_OUT, left_out)
    yield beam.pvalue.TaggedOutput(_WHOLE, Whole(count, digest))


def _schema_of(part: str | Part, manifest: Manifest) -> pa.Schema | None:
    """Return the declared columns of a part; None if they can only be inferred from its rows."""
    if isinstance(part, str):
        return pa.schema([])
    schema = part.list.schema
    if schema is None or manifest.uri_separator is None:
        return schema
    return schema.append(pa.field(POSITION, pa.int64()))


def _counted(
    part: str | Part, found: Iterable[ManifestRow | FinishedImage | LeftOut], meter: MeterHandle
) -> Iterator[ManifestRow | FinishedImage | LeftOut]:
    """Yield the rows of a part, and count them for the progress display."""
    own, listed, wrong, told = meter.get(), 0, 0, 0
    name = part if isinstance(part, str) else f"{part.list.path} from {part.start}"
    key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    with own.working():
        own.begin_listing(key)
        for row in found:
            listed += not isinstance(row, LeftOut)
            wrong += isinstance(row, FinishedImage)
            if listed >= told + _COUNTED_ROWS:
                told = listed
                own.count_listed(key, listed, wrong)
            yield row
        own.count_listed(key, listed, wrong)
        own.write()  # all rows are counted before any image is read


def _as_utf8(value: Any) -> Any:
    """Return a value with lone surrogates in its text, however deeply nested, replaced by question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_as_utf8(name): _as_utf8(inner) for name, inner in value.items()}
    return [_as_utf8(inner) for inner in value] if isinstance(value, list) else value
