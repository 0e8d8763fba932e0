"""Data classes of the list reader: a list, its parts and records, and the required columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from catalogue.cli.errors import UserError

TEXT, CSV, JSON_LINES, PARQUET, IMAGE = "text", "CSV", "JSON Lines", "Parquet", "image"
BATCH_ROWS = 1_000
POSITION = "uri_position"
UTF_8, UTF_16 = "utf-8", "utf-16"


@dataclasses.dataclass(frozen=True)
class ListColumns:
    """The columns that a list must have.

    Attributes:
        uri: column of the image URI.
        label: column of the label; None if labels are not required.
        hint: advice for the user if `uri` is missing, appended to the error message.
        separator: separator of the URIs in one cell; None for one URI per cell. Each URI becomes a row, with a column
            `POSITION` that counts from one.
    """

    uri: str = "uri"
    label: str | None = None
    hint: str = ""
    separator: str | None = None

    def check(self, path: str, names: Sequence[str]) -> None:
        """Reject a list with a missing, duplicate or reserved column. Raises UserError."""
        missing = [name for name in (self.uri, self.label) if name is not None and name not in names]
        shown = ", ".join(name if name.isprintable() else repr(name) for name in names)[:100]
        if missing:
            hint = self.hint if self.uri in missing else ""
            raise UserError(f"{path} has no column {' and '.join(map(repr, missing))}, only {shown}{hint}")
        if self.separator is not None and POSITION in names:
            raise UserError(f"{path} has a column {POSITION!r}, which --uri-separator adds: rename it")
        if len(set(names)) < len(names):
            raise UserError(f"{path} has two columns of the same name: {shown}")


@dataclasses.dataclass(frozen=True)
class ImageList:
    """A file that lists images.

    Attributes:
        path: local or remote path.
        kind: one of the kinds in this module.
        schema: schema of the columns other than the URI; None if only the rows define the columns.
        gzipped: whether the file is gzipped.
        encoding: text encoding, UTF-8 or UTF-16.
        columns: column names of a CSV, in order.
        delimiter: delimiter of a CSV.
        start: offset of the first byte after a CSV's header.
        line: number of the first line after `start`, counted from one.
        ends_with_cr: whether a CR alone ends a line, as on old Macs; true if the head of the file has a CR but no LF.
        version: version of the file before it was recognized; None if unknown.
    """

    path: str
    kind: str
    schema: pa.Schema | None
    gzipped: bool = False
    encoding: str = UTF_8
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    start: int = 0
    line: int = 1
    ends_with_cr: bool = False
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of the lines of a list.

    Attributes:
        list: list to which the part belongs.
        start: offset of the first byte; for Parquet, number of the row group.
        end: offset after the last byte; None for no limit.
        line: number of the first line; for Parquet, of the first row.
    """

    list: ImageList
    start: int
    end: int | None
    line: int


class Record(NamedTuple):
    """A line or row: its number, its columns by name, and its problem, if any."""

    number: int
    columns: dict[str, Any]
    problem: str = ""
