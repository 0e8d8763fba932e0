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

import collections
import dataclasses
import itertools
import os
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.text import counted
from catalogue.lists import kinds, parts
from catalogue.lists.values import PARQUET, POSITION, ListColumns, Part, Record
from catalogue.storage import globs
from catalogue.storage.access import EVERYTHING, Access, is_below
from catalogue.storage.paths import WEB

_LOOKED_AT, _SHOWN = 20, 5
_HOST = re.compile(r"//([^\s/?#]*@)?[^\s/?#@:.]+(\.[^\s/?#@:.]+)+(:\d+)?[/?]")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of an input.

    Attributes:
        uri: as the input gives it, letter for letter.
        location: where the image is read: the URI made absolute.
        columns: the other columns.
        where: the line or row, for messages.
        version: of the image, where it was found in a listing.
    """

    uri: str
    location: str
    columns: dict[str, Any]
    where: str
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that names no image.

    Attributes:
        uri: as the input gives it, as far as it does.
        columns: the other columns, as far as there are any.
        message: the line or row, and what is wrong with it.
        is_without_uri: whether it is only the URI that is missing.
    """

    uri: str
    columns: dict[str, Any]
    message: str
    is_without_uri: bool = False


@dataclasses.dataclass(frozen=True)
class HiddenFiles:
    """The hidden files of a folder, which are not read: hidden file or folder -> number of files."""

    files: dict[str, int]

    def __str__(self) -> str:
        shown = ", ".join(sorted(self.files)[:_SHOWN]) + (", …" if len(self.files) > _SHOWN else "")
        return f"{counted(sum(self.files.values()), 'hidden file')} left out: {shown}"


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
    """Whether the first files of a folder or glob are all lists, as data warehouses write them. Raises StorageError."""
    if storage.is_glob(where):
        if kinds.is_list_by_name(where):
            return False
        files = globs.matches(where)
    elif is_list(where):
        return False
    else:
        files = globs.in_folder(where)
    return all(kinds.is_list_by_name(file.location) for file in itertools.islice(files, _LOOKED_AT))


def rows(
    part: str | Part, columns: ListColumns, base_uri: str | None = None, access: Access = EVERYTHING
) -> Iterator[Row | BadRow | HiddenFiles]:
    """The rows of a part, in a stream; last, for a folder with hidden files, what was left out.

    Args:
        part: one of `parts_of`.
        columns: names the column of the URI.
        base_uri: what relative URIs are relative to; None for the folder of the list they are in.
        access: what may be read. A remote list can name local files only below one of its prefixes, or `base_uri`.

    Raises:
        UserError: the list is damaged.
        StorageError: it cannot be read.
    """
    if isinstance(part, str):
        left_out = collections.Counter[str]()
        files = globs.matches(part) if storage.is_glob(part) else globs.in_folder(part, left_out)
        yield from (_row(file.location, {}, "", "the file's name", file.version) for file in files)
        if left_out:
            yield HiddenFiles(dict(left_out))
        return
    base = os.path.dirname(part.list.path) if base_uri is None else base_uri.rstrip("/")
    noun = "row" if part.list.kind == PARQUET else "line"
    for record in parts.records(part, columns.uri):
        for row in _rows_of(record, columns, base, f"{noun} {record.number} of {part.list.path}"):
            if storage.is_remote(part.list.path) and isinstance(row, Row) and not _may_name(row.location, base, access):
                yield BadRow(row.uri, row.columns, f"{row.where}: a remote list must not name a local file")
            else:
                yield row


def _may_name(location: str, base: str, access: Access) -> bool:
    """Whether a remote list may name a location: whoever wrote it need not be who may read this machine's files."""
    return storage.is_remote(location) or is_below(location, base) or access.names(location)


def _rows_of(record: Record, columns: ListColumns, base: str, where: str) -> Iterator[Row | BadRow]:
    """A record's row; with a separator of URIs, one for each of them, with its position."""
    others = record.columns
    if record.problem:
        yield BadRow("", {}, f"{where}: {record.problem}")
        return
    uri = others.pop(columns.uri, None)
    if uri is None:
        yield BadRow("", others, f"{where} has no URI", is_without_uri=True)
    elif columns.separator is not None and (isinstance(uri, str) or _is_text_list(uri)):
        uris = [one for one in (uri.split(columns.separator) if isinstance(uri, str) else uri) if one.strip()]
        if not uris:
            yield _row("", others | {POSITION: None}, base, where)
        for position, one in enumerate(uris, start=1):
            yield _row(one, others | {POSITION: position}, base, where)
    elif isinstance(uri, str):
        yield _row(uri, others, base, where)
    else:
        hint = " (--uri-separator reads each of a list)" if _is_text_list(uri) and columns.label is None else ""
        yield BadRow("", others, f"{where}: the URI {uri!r} is not text{hint}")


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _row(uri: str, columns: dict[str, Any], base: str, where: str, version: str | None = None) -> Row | BadRow:
    if not storage.is_unicode(uri) or not _is_unicode_within(columns):
        return BadRow(uri, columns, f"{where} is not UTF-8")
    if not uri.strip():
        return BadRow(uri, columns, f"{where} has no URI", is_without_uri=True)
    if uri.lstrip()[:5].lower() == "data:":
        return BadRow(uri, columns, f"{where} holds an image itself (data:): save it and name the file")
    try:
        return Row(uri, location_of(uri.strip(), base), columns, where, version)
    except ValueError as error:  # a host that cannot be one, below a base on the web
        return BadRow(uri, columns, f"{where}: {uri!r} is not a URI: {error}")


def location_of(uri: str, base: str) -> str:
    """Where an image is: its URI made absolute, with its scheme in lower case and without ``..``.

    A URI that begins with ``//`` and a host is read with the scheme of `base`, or as ``https:``.

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
    if _HOST.match(uri):
        return f"https:{uri}"
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
