"""What to classify: a folder, a glob, a text file of URIs or a CSV, to rows of a URI and its fields.

======  ==============================================  ===========================================================
kind    recognised by                                   rows
======  ==============================================  ===========================================================
folder  being one                                       every file below it whose name does not begin with a dot
glob    ``*``, ``?`` or ``[`` and no file of that name  ``*`` within a folder, ``**`` across folders, ``**/`` none too
CSV     ``.csv``                                        the column ``uri``; the other columns are the fields
text    any other file                                  a URI on each line that is not blank
======  ==============================================  ===========================================================

URIs in files are relative to the file. A line that names no image becomes a dead letter; it is not left out.
"""

from __future__ import annotations

import collections
import csv
import glob
import os
import re
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline import storage
from pipeline.images import Outcome
from pipeline.records import DeadLetter, Entry, ManifestRow
from trainer.console import UserError
from trainer.dataset import files_below
from trainer.model_dir import is_remote
from trainer.preprocessing import Reason

URI_COLUMN = "uri"
_WRONG = "wrong"


class ReadManifest(beam.PTransform):
    """The rows of an input, and the dead letters of those of its lines that name no image."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def expand(self, begin: beam.pvalue.PBegin) -> Outcome:
        """Nothing to `ManifestRow`s and `DeadLetter`s."""
        found = begin | beam.Create([self._where]) | beam.FlatMap(_tagged_rows).with_outputs(_WRONG, main="rows")
        return Outcome(found.rows, found[_WRONG])


def _tagged_rows(where: str) -> Iterator[ManifestRow | beam.pvalue.TaggedOutput]:
    for row in rows(where):
        yield row if isinstance(row, ManifestRow) else beam.pvalue.TaggedOutput(_WRONG, row)


class GroupByLocation(beam.PTransform):
    """Rows to `Entry`s: each image once, however often it is listed. Spreads the images over all workers too."""

    def expand(self, found: beam.PCollection) -> beam.PCollection:
        """PCollection of `ManifestRow`s to a PCollection of `Entry`s."""
        return (
            found
            | "Key" >> beam.Map(lambda row: (row.location, (row.uri, row.fields))).with_output_types(tuple[str, Any])
            | beam.GroupByKey()
            | "Entry" >> beam.MapTuple(lambda location, listed: Entry(location, tuple(listed)))
        )


def check(where: str) -> None:
    """Reads the first row, so that what is wrong with an input is said before anything is started.

    Raises:
        UserError: there is no such input, it names no images, or it is in no form that is read here.
    """
    try:
        if next(rows(where), None) is None:
            raise UserError(f"--input {where} names no images")
    except (*storage.ERRORS, re.error, csv.Error) as error:
        raise UserError(f"--input {where} cannot be read: {error}") from error


def rows(where: str) -> Iterator[ManifestRow | DeadLetter]:
    """The rows of an input, in a stream; see the module for what an input may be.

    Raises:
        UserError: as `check` does.
    """
    if is_remote(where):
        yield from _remote_rows(where)
    elif os.path.isdir(where):
        yield from map(_found, filter(_visible, files_below(os.path.abspath(where))))
    elif os.path.isfile(where):
        yield from _listed(os.path.abspath(where))
    elif glob.has_magic(where):
        folder, pattern = _split(where)
        folder = os.path.abspath(folder)
        yield from map(_found, _matching(folder, pattern, files_below(folder)))
    else:
        raise UserError(f"--input {where} does not exist: give a folder, a glob, a text file of URIs or a CSV")


def lists(where: str, path: str) -> bool:
    """Whether a folder or a glob would name the file `path`, if it existed."""
    folder, pattern = _split(where) if glob.has_magic(where) and not os.path.exists(where) else (where, "**")
    if not is_remote(where):
        folder, path = os.path.realpath(folder), os.path.realpath(path)
    return path.startswith(f"{folder.rstrip('/')}/") and any(_matching(folder, pattern, iter([path])))


def _remote_rows(where: str) -> Iterator[ManifestRow | DeadLetter]:
    if FileSystems.exists(where) and not where.endswith("/"):
        yield from _listed(where)
    elif glob.has_magic(where):
        folder, pattern = _split(where)
        yield from map(_found, _matching(folder, pattern, _objects(folder)))
    else:
        found = False
        for path in filter(_visible, _objects(where.rstrip("/"))):
            found = True
            yield _found(path)
        if not found:
            raise UserError(f"--input {where} does not exist: give a folder, a glob, a text file of URIs or a CSV")


def _objects(folder: str) -> Iterator[str]:
    """Every object below a remote folder, as the storage lists them."""
    for result in FileSystems.match([f"{folder}/**"]):
        yield from (file.path for file in result.metadata_list if not file.path.endswith("/"))


def _split(pattern: str) -> tuple[str, str]:
    """A glob's folder before the first component with a wildcard, and the rest."""
    components = pattern.split("/")
    fixed = next(number for number, component in enumerate(components) if glob.has_magic(component))
    return "/".join(components[:fixed]) or ("/" if fixed else "."), "/".join(components[fixed:])


def _matching(folder: str, pattern: str, paths: Iterator[str]) -> Iterator[str]:
    """Those of the paths below `folder` whose rest matches; a hidden file only if the pattern asks for one."""
    expression, start = re.compile(_expression(pattern)), len(folder.rstrip("/")) + 1
    hidden_too = not _visible(pattern)
    return (path for path in paths if expression.fullmatch(path[start:]) and (hidden_too or _visible(path)))


def _visible(path: str) -> bool:
    return not path.rpartition("/")[2].startswith(".")


def _expression(pattern: str) -> str:
    """A glob to a regular expression, the same for local and remote paths."""
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and len(token) > 1:
            inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
        return wildcards.get(token) or re.escape(token)

    return "".join(map(translate, re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, flags=re.DOTALL)))


def _listed(path: str) -> Iterator[ManifestRow | DeadLetter]:
    """The rows of a file that lists URIs."""
    folder = path.rpartition("/")[0]
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        if path.lower().endswith(".csv"):
            yield from _csv_rows(file, path, folder)
        else:
            yield from _text_rows(file, path, folder)


def _lines(file: Iterator[bytes]) -> Iterator[str]:
    """The lines of a file as text; bytes that are no UTF-8 become surrogates, so that one bad line harms no other."""
    for number, line in enumerate(file):
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if number == 0 else text


def _text_rows(file: Iterator[bytes], path: str, folder: str) -> Iterator[ManifestRow | DeadLetter]:
    for number, line in enumerate(_lines(file), start=1):
        uri = line.strip()
        if number == 1 and ("\0" in uri or not _is_unicode(uri)):
            raise UserError(f"--input {path} is no text file: give a folder, a glob, a text file of URIs or a CSV")
        if uri:
            yield _row(uri, {}, folder, f"line {number}")


def _csv_rows(file: Iterator[bytes], path: str, folder: str) -> Iterator[ManifestRow | DeadLetter]:
    records = _csv_records(_lines(file))
    _, header = next(records, (1, []))
    if isinstance(header, csv.Error):
        raise UserError(f"--input {path}: the first line is no CSV: {header}")
    header = [name.strip() for name in header]
    if URI_COLUMN not in header:
        raise UserError(f"--input {path} has no column {URI_COLUMN!r}: its first line is {','.join(header)[:100]!r}")
    if len(set(header)) < len(header):
        raise UserError(f"--input {path} has two columns of the same name: {','.join(header)[:100]!r}")
    for number, cells in records:
        where = f"line {number}"
        if isinstance(cells, csv.Error):
            yield _bad_row("", {}, f"{where}: {cells}")
        elif len(cells) != len(header):
            cut = ",".join(cells)[:200]
            yield _bad_row("", {}, f"{where} has {len(cells)} cells, the first line {len(header)}: {cut}")
        else:
            fields = dict(zip(header, cells, strict=True))
            yield _row(fields.pop(URI_COLUMN).strip(), fields, folder, where)


def _csv_records(lines: Iterator[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The records of a CSV that are not empty, each with the number of its first line.

    A line with a quote that is never closed would swallow all lines after it. It becomes an error of its own, and the
    lines after it are read again.
    """
    again: collections.deque[str] = collections.deque()
    number = 1
    while True:
        taken: list[str] = []
        source = _taking(taken, again, lines)
        try:
            cells = next(csv.reader(source, strict=True), None)
        except csv.Error as error:
            yield number, error
            again.extendleft(reversed(taken[1:]))
            number += 1
            continue
        if cells is None:
            return
        if cells:
            yield number, cells
        number += len(taken)


def _taking(taken: list[str], again: collections.deque[str], lines: Iterator[str]) -> Iterator[str]:
    """The lines of `again`, then those of `lines`, each remembered in `taken`."""
    while True:
        line = again.popleft() if again else next(lines, None)
        if line is None:
            return
        taken.append(line)
        yield line


def _found(path: str) -> ManifestRow | DeadLetter:
    return _row(path, {}, "", "the file's name")


def _row(uri: str, fields: dict[str, str], folder: str, where: str) -> ManifestRow | DeadLetter:
    if not all(map(_is_unicode, (uri, *fields.values()))):
        return _bad_row(uri, fields, f"{where} is not UTF-8")
    if not uri:
        return _bad_row(uri, fields, f"{where} has no URI")
    return ManifestRow(uri, _location(uri, folder), fields)


def _location(uri: str, folder: str) -> str:
    uri = uri.removeprefix("file://")
    if is_remote(uri):
        return uri
    location = uri if uri.startswith("/") else f"{folder}/{uri}"
    return location if is_remote(location) else os.path.normpath(location)


def _bad_row(uri: str, fields: dict[str, str], message: str) -> DeadLetter:
    reason = Reason.BAD_MANIFEST_ROW
    shown = {name: _shown(value) for name, value in fields.items()}
    return DeadLetter(_shown(uri), reason.code, reason.transient, _shown(message), shown)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(text: str) -> str:
    """`text` with what is no character replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
