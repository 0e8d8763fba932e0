"""The values of the list reader: a list, a part of it, a record, the columns that are wanted."""

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
        uri: names the image.
        label: names its class; None where labels are not asked for.
        hint: what the user can do if `uri` is missing, at the end of an error message.
        separator: what stands between the URIs of one cell; None if there is one URI. Each becomes a row, with a column
            `POSITION` that counts from one.
    """

    uri: str = "uri"
    label: str | None = None
    hint: str = ""
    separator: str | None = None

    def check(self, path: str, names: Sequence[str]) -> None:
        """Refuses a list that lacks one of them, or has two columns of one name. Raises UserError."""
        missing = [name for name in (self.uri, self.label) if name is not None and name not in names]
        shown = ", ".join(names)[:100]
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
        path: where it is.
        kind: one of this module's kinds.
        schema: of the columns beside the URI; None where only the rows can tell.
        gzipped: whether it is.
        encoding: of its text: UTF-8 or UTF-16.
        columns: of a CSV, in order.
        delimiter: of a CSV.
        start: of a CSV, how many bytes its header has.
        line: the number of the first line after `start`; lines count from one.
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


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of the lines of a list.

    Attributes:
        list: the whole.
        start: the first byte; of Parquet, the row group.
        end: the byte after the last; None for all there are.
        line: the number of the first line; of Parquet, of the first row.
    """

    list: ImageList
    start: int
    end: int | None
    line: int


class Record(NamedTuple):
    """A line or row: its number, its columns by name, and what is wrong with it, if anything."""

    number: int
    columns: dict[str, Any]
    problem: str = ""
