"""Expands folders, globs and lists to rows, each with a URI, an image location and the other columns of its list.

======  =============================================================================
input   images
======  =============================================================================
folder  all files below it that are not hidden, see `catalogue.storage.paths.HIDDEN`
glob    all files that match: ``*`` within a folder, ``**`` across folders; if the
        glob has the extension of a list, the images that these files name
list    images named in its lines or rows, see `catalogue.lists.kinds`
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
from catalogue.lists.cells import is_missing
from catalogue.lists.streams import version_of
from catalogue.lists.values import IMAGE, PARQUET, POSITION, ImageList, ListColumns, Part, Record
from catalogue.reasons import Reason
from catalogue.storage import Listed, globs
from catalogue.storage.access import EVERYTHING, Access, is_below
from catalogue.storage.paths import WEB

_LOOKED_AT, _SHOWN = 20, 5
_HOST = re.compile(r"//([^\s/?#]*@)?[^\s/?#@:.]+(\.[^\s/?#@:.]+)+(:\d+)?[/?]")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of an input.

    Attributes:
        uri: URI exactly as in the input.
        location: location of the image: the URI made absolute.
        columns: other columns.
        where: line or row, for messages.
        version: version of the image, if known from a listing.
    """

    uri: str
    location: str
    columns: dict[str, Any]
    where: str
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that does not name an image.

    Attributes:
        uri: URI as in the input; empty if the row has no URI.
        columns: other columns; empty if they cannot be read.
        message: line or row, and the problem.
        is_without_uri: whether the only problem is a missing URI.
        reason: reason for its dead letter.
    """

    uri: str
    columns: dict[str, Any]
    message: str
    is_without_uri: bool = False
    reason: Reason = Reason.BAD_MANIFEST_ROW


@dataclasses.dataclass(frozen=True)
class HiddenFiles:
    """The hidden files of a folder, which are skipped: hidden file or folder -> number of files."""

    files: dict[str, int]

    def __str__(self) -> str:
        shown = ", ".join(sorted(self.files)[:_SHOWN]) + (", …" if len(self.files) > _SHOWN else "")
        return f"{counted(sum(self.files.values()), 'hidden file')} skipped: {shown}"


def parts_of(where: str, columns: ListColumns) -> Iterator[str | Part]:
    """Yield the parts of each list in an input; for a folder or a glob of images, yield the input itself.

    Raises:
        UserError: the input does not exist, or is a list that cannot be read.
        StorageError: the storage cannot be accessed.
    """
    if is_list(where):
        found = _recognized(where, columns)
        if found is None:
            raise UserError(f"{where} is empty: it names no images")
        yield from parts.parts(found)
    elif storage.is_glob(where) and kinds.is_list_by_name(where):
        for file in globs.matches(where):
            found = _recognized(file.checked().location, columns)
            if found is not None:  # an export of many files may contain empty ones
                yield from parts.parts(found)
    else:
        yield where


def _recognized(path: str, columns: ListColumns) -> ImageList | None:
    """Detect the kind of a list, and take its version before it is read. Return None if the list is empty."""
    version = version_of(path)
    found = kinds.recognize(path, columns)
    return dataclasses.replace(found, version=version) if found else None


def is_list(where: str) -> bool:
    """Return whether an input is a file, not a folder or a glob.

    Raises:
        UserError: the local path does not exist, or is a pipe or a device.
        StorageError: the storage cannot be accessed.
    """
    if storage.is_remote(where):
        return not where.endswith("/") and storage.is_file(where)
    if os.path.isfile(where):
        return True
    if os.path.isdir(where):
        return False
    if os.path.exists(where):  # such as the pipe of <(find photos)
        raise UserError(f"{where} is a pipe or a device: write the list to a file")
    if storage.is_glob(where):
        return False
    raise UserError(f"{where} does not exist: give a folder, a glob, or a list of URIs")


def glob_of_lists(where: str) -> str | None:
    """Return a glob for the lists in a folder or glob that is about to be read as images, such as ``export/*.csv``.

    Returns None if the folder or glob holds images, or if the input is already a list or a glob of lists. The first
    files decide: all of them, except markers such as ``_SUCCESS``, must have the extension of a list.

    Raises:
        StorageError: the storage cannot be accessed.
    """
    is_glob = storage.is_glob(where)
    if kinds.is_list_by_name(where) if is_glob else is_list(where):
        return None
    files = globs.matches(where) if is_glob else globs.in_folder(where)
    found = [file.location for file in itertools.islice(files, _LOOKED_AT) if not _is_marker(file)]
    if not found or not all(map(kinds.is_list_by_name, found)):
        return None
    if is_glob:
        return where + kinds.list_ending(found[0])
    folder = where.rstrip("/")
    is_deep = os.path.dirname(found[0]) != folder
    return f"{folder}/{'**/' if is_deep else ''}*{kinds.list_ending(found[0])}"


def _is_marker(file: Listed) -> bool:
    """Return whether a file that is not an image is empty, or named like the files that Spark adds to an export."""
    is_named = os.path.basename(file.location).startswith("_")  # cameras use such names, too: _DSC0001.JPG
    return (is_named or file.size == 0) and not file.location.lower().endswith(kinds.IMAGE_ENDINGS)


def rows(
    part: str | Part, columns: ListColumns, base_uri: str | None = None, access: Access = EVERYTHING
) -> Iterator[Row | BadRow | HiddenFiles]:
    """Yield the rows of a part; for a folder with hidden files, `HiddenFiles` comes last.

    A subfolder that cannot be listed is yielded as a `BadRow` with the reason.

    Args:
        part: part from `parts_of`.
        columns: columns that the list must have.
        base_uri: base of relative URIs; None for the folder of the list.
        access: locations that may be read. A remote list can name local files only below one of `access.prefixes`, or
            below `base_uri`.

    Raises:
        UserError: the list is damaged.
        StorageError: the part cannot be read.
    """
    if isinstance(part, str):
        left_out = collections.Counter[str]()
        files = globs.matches(part) if storage.is_glob(part) else globs.in_folder(part, left_out)
        yield from map(_row_of_file, files)
        if left_out:
            yield HiddenFiles(dict(left_out))
        return
    if part.list.kind == IMAGE:
        yield _row_of_file(Listed(part.list.path))
        return
    base = os.path.dirname(part.list.path) if base_uri is None else base_uri.rstrip("/")
    noun = "row" if part.list.kind == PARQUET else "line"
    for record in parts.records(part, columns):
        for row in _rows_of(record, columns, base, f"{noun} {record.number} of {part.list.path}"):
            if storage.is_remote(part.list.path) and isinstance(row, Row) and not _may_name(row.location, base, access):
                yield BadRow(row.uri, row.columns, f"{row.where}: a remote list must not name a local file")
            else:
                yield row


def _row_of_file(file: Listed) -> Row | BadRow:
    """Return the row of a file that was found, or of a folder that cannot be listed.

    A file name is not parsed as a URI, since it may, for example, end with a space.
    """
    if file.error:
        return BadRow(file.location, {}, file.error.message, reason=file.error.reason)
    if not storage.is_unicode(file.location):
        return BadRow(file.location, {}, "the file name is not UTF-8")
    return Row(file.location, file.location, {}, "the file name", file.version)


def _may_name(location: str, base: str, access: Access) -> bool:
    """Return whether a remote list may name a location: its untrusted author must not choose arbitrary local files."""
    return storage.is_remote(location) or is_below(location, base) or access.names(location)


def _rows_of(record: Record, columns: ListColumns, base: str, where: str) -> Iterator[Row | BadRow]:
    """Yield the row of a record; with a URI separator, one row per URI, with the position of the URI."""
    others = record.columns
    if record.problem:
        yield BadRow("", {}, f"{where}: {record.problem}")
        return
    uri = others.pop(columns.uri, None)
    if columns.separator is not None and (isinstance(uri, str) or _is_text_list(uri)):
        cells = uri.split(columns.separator) if isinstance(uri, str) else uri
        uris = [cell for cell in cells if not is_missing(cell)]
        if not uris:
            yield _row("", others | {POSITION: None}, base, where)
        for position, one in enumerate(uris, start=1):
            yield _row(one, others | {POSITION: position}, base, where)
    elif isinstance(uri, str):
        yield _row(uri, others, base, where)
    elif is_missing(uri):
        yield BadRow("", others, f"{where} has no URI", is_without_uri=True)
    else:
        hint = " (use --uri-separator to read URI lists)" if _is_text_list(uri) and columns.label is None else ""
        yield BadRow("", others, f"{where}: the URI {uri!r} is not text{hint}")


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) or is_missing(one) for one in value)


def _row(uri: str, columns: dict[str, Any], base: str, where: str) -> Row | BadRow:
    if not storage.is_unicode(uri) or not _is_unicode_within(columns):
        return BadRow(uri, columns, f"{where} is not UTF-8")
    if is_missing(uri):
        return BadRow(uri, columns, f"{where} has no URI", is_without_uri=True)
    if uri.lstrip()[:5].lower() == "data:":
        return BadRow(uri, columns, f"{where} holds a data: URI: save the image to a file and name the file")
    try:
        return Row(uri, location_of(uri.strip(), base), columns, where)
    except ValueError as error:
        return BadRow(uri, columns, f"{where}: {uri!r} {error}")


def location_of(uri: str, base: str) -> str:
    """Return the location of an image: its URI resolved against `base`, with a lowercase scheme.

    ``..`` is resolved in relative URIs and local paths. A URI that begins with ``//`` and a host gets the scheme of
    `base` if `base` is on the web, else ``https:``.

    Args:
        uri: URI of the image.
        base: folder, or an empty string for the working directory.

    Raises:
        ValueError: the URI is invalid. The message completes a sentence that begins with the URI.
    """
    path = storage.without_file_scheme(uri)
    if path != uri:
        return os.path.normpath(path)
    if storage.is_remote(uri):
        return f"{storage.scheme(uri)}://{uri.partition('://')[2]}"
    if storage.scheme(base) in WEB:
        try:
            return urllib.parse.urljoin(f"{base}/", uri)
        except ValueError as error:  # an invalid host
            raise ValueError(f"is not a URI: {error}") from error
    if _HOST.match(uri):
        return f"https:{uri}"
    location = os.path.join(base, uri)
    if not storage.is_remote(location):
        return os.path.normpath(location)
    scheme, _, path = location.partition("://")
    return f"{scheme}://{os.path.normpath(path)}" if "./" in uri else location


def _is_unicode_within(value: Any) -> bool:
    """Return whether all text in a value, at any depth, can be encoded as UTF-8."""
    if isinstance(value, str):
        return storage.is_unicode(value)
    if isinstance(value, dict):
        for name, inner in value.items():  # noqa: SIM110, a generator takes twice as long, and this runs for every line
            if not (storage.is_unicode(name) and _is_unicode_within(inner)):
                return False
        return True
    return not isinstance(value, list) or all(map(_is_unicode_within, value))
