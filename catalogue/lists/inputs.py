"""Folders, globs and lists to rows: each a URI, where the image is, and the other columns of its list.

======  =============================================================================
input   names
======  =============================================================================
folder  every file below it whose name does not begin with a dot
glob    every file that matches: ``*`` within a folder, ``**`` across folders; lists
        if it has the ending of one
list    what its lines or rows name, see `catalogue.lists.kinds`
======  =============================================================================
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import urllib.parse
from collections.abc import Iterator
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.lists import kinds, parts
from catalogue.lists.values import PARQUET, ListColumns, Part, Record
from catalogue.storage import globs
from catalogue.storage.paths import WEB

_LOOKED_AT = 20


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of an input.

    Attributes:
        uri: as the input gives it.
        location: where the image is read: the URI made absolute.
        columns: the other columns.
        where: the line or row, for messages.
    """

    uri: str
    location: str
    columns: dict[str, Any]
    where: str


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that names no image.

    Attributes:
        uri: as the input gives it, as far as it does.
        columns: the other columns, as far as there are any.
        message: the line or row, and what is wrong with it.
    """

    uri: str
    columns: dict[str, Any]
    message: str


def parts_of(where: str, columns: ListColumns) -> Iterator[str | Part]:
    """Divides an input where it can be divided: the parts of a list, or a folder or glob as it is.

    Raises:
        UserError: there is no such input, or it is a list that cannot be read.
        StorageError: its storage does not answer.
    """
    if is_list(where):
        yield from parts.parts(kinds.recognise(where, columns))
    elif storage.is_glob(where) and kinds.is_list_by_name(where):
        for file in globs.matches(where):
            yield from parts.parts(kinds.recognise(file.location, columns))
    else:
        yield where


def is_list(where: str) -> bool:
    """Whether an input is a file, and not a folder or a glob.

    Raises:
        UserError: there is nothing of that name on the local disk.
        StorageError: its storage does not answer.
    """
    if storage.is_remote(where):
        return not where.endswith("/") and storage.is_file(where)
    if os.path.exists(where) or storage.is_glob(where):
        return os.path.isfile(where)
    raise UserError(f"{where} does not exist: give a folder, a glob, or a list of URIs")


def holds_lists(where: str) -> bool:
    """Whether the first files of a folder are all lists, as data warehouses write them. Raises StorageError."""
    if storage.is_glob(where) or is_list(where):
        return False
    first = [file.location for file in itertools.islice(globs.in_folder(where), _LOOKED_AT)]
    return all(map(kinds.is_list_by_name, first))


def rows(part: str | Part, columns: ListColumns, base_uri: str | None = None) -> Iterator[Row | BadRow]:
    """The rows of a part, in a stream.

    Args:
        part: one of `parts_of`.
        columns: names the column of the URI.
        base_uri: what relative URIs are relative to; None for the folder of the list they are in.

    Raises:
        UserError: the list is damaged.
        StorageError: it cannot be read.
    """
    if isinstance(part, str):
        files = globs.matches(part) if storage.is_glob(part) else globs.in_folder(part)
        yield from (_row(file.location, {}, "", "the file's name") for file in files)
        return
    base = os.path.dirname(part.list.path) if base_uri is None else base_uri.rstrip("/")
    noun = "row" if part.list.kind == PARQUET else "line"
    for record in parts.records(part, columns.uri):
        yield _row_of(record, columns.uri, base, f"{noun} {record.number} of {part.list.path}")


def _row_of(record: Record, uri_column: str, base: str, where: str) -> Row | BadRow:
    columns = record.columns
    if record.problem:
        return BadRow("", {}, f"{where}: {record.problem}")
    uri = columns.pop(uri_column, None)
    if isinstance(uri, str):
        return _row(uri.strip(), columns, base, where)
    return BadRow("", columns, f"{where} has no URI" if uri is None else f"{where}: the URI {uri!r} is not text")


def _row(uri: str, columns: dict[str, Any], base: str, where: str) -> Row | BadRow:
    if not storage.is_unicode(uri) or not _is_unicode_within(columns):
        return BadRow(uri, columns, f"{where} is not UTF-8")
    if not uri:
        return BadRow(uri, columns, f"{where} has no URI")
    try:
        return Row(uri, location_of(uri, base), columns, where)
    except ValueError as error:  # a host that cannot be one, below a base on the web
        return BadRow(uri, columns, f"{where}: {uri!r} is not a URI: {error}")


def location_of(uri: str, base: str) -> str:
    """Where an image is: its URI made absolute, with its scheme in lower case and without ``..``.

    Args:
        uri: of the image.
        base: a folder, or empty for the working directory.

    Raises:
        ValueError: it is not a URI.
    """
    uri = storage.without_file_scheme(uri)
    if storage.is_remote(uri):
        return f"{storage.scheme(uri)}://{uri.partition('://')[2]}"
    if storage.scheme(base) in WEB:
        return urllib.parse.urljoin(f"{base}/", uri)
    location = os.path.join(base, uri)
    if not storage.is_remote(location):
        return os.path.normpath(location)
    scheme, _, path = location.partition("://")
    return f"{scheme}://{os.path.normpath(path)}" if "./" in uri else location


def _is_unicode_within(value: Any) -> bool:
    """Whether all text in a value, however deep, can be written as UTF-8."""
    if isinstance(value, str):
        return storage.is_unicode(value)
    if isinstance(value, dict):
        for name, inner in value.items():  # noqa: SIM110, a generator takes twice as long, and this is for every line
            if not (storage.is_unicode(name) and _is_unicode_within(inner)):
                return False
        return True
    return not isinstance(value, list) or all(map(_is_unicode_within, value))
