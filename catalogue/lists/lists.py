"""Files that list images, one to a line or row: what kind of file it is, its parts, and the records in a part.

============  =====================================================================================================
kind          recognised by
============  =====================================================================================================
Parquet       its first bytes
image         its first bytes, or the ending of one: a list of one, itself
JSON Lines    ``.jsonl``, ``.ndjson``; or a first line that begins with ``{``
CSV           ``.csv``; or a first line with the URI column in it. Its delimiter is the one of comma, semicolon, tab and
              bar that gives this column
TSV           ``.tsv``, ``.tab``
text          ``.txt``, ``.text``, ``.list``, ``.lst``, and everything else
============  =====================================================================================================

All but Parquet may be gzipped, whatever their name; ``.gz`` is not counted as an ending. Text is UTF-8.

A file is read in parts of some megabytes, on any worker, each in a stream: Parquet by its row groups, the others at the
ends of lines. A gzipped file is one part.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from catalogue.cli.console import UserError
from catalogue.images.reader import has_known_signature

TEXT, CSV, JSON_LINES, PARQUET, IMAGE = "text", "CSV", "JSON Lines", "Parquet", "image"
ENDINGS = {
    ".csv": CSV,
    ".tsv": CSV,
    ".tab": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".txt": TEXT,
    ".text": TEXT,
    ".list": TEXT,
    ".lst": TEXT,
}
IMAGE_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif")
PARQUET_ENDINGS = (".parquet", ".pq")
DELIMITERS = ",;\t|"
PART_BYTES = 16 * 2**20
BATCH_ROWS = 1_000
_HEAD_BYTES = 1 << 16
_NO_COLUMNS = pa.schema([])
# What turning a cell of Parquet into a value of Python raises: a year 10,000, an unknown time zone, bytes as text.
_NO_VALUE = (ValueError, OverflowError, KeyError, pa.ArrowException)


@dataclasses.dataclass(frozen=True)
class ImageList:
    """A file that lists images.

    Attributes:
        path: where it is.
        kind: one of this module's kinds.
        schema: of the columns beside the URI; None where only the rows can tell.
        gzipped: whether it is.
        columns: of a CSV, in order.
        delimiter: of a CSV.
        start: of a CSV, how many bytes its header has.
        line: the number of the first line after `start`; lines count from one.
    """

    path: str
    kind: str
    schema: pa.Schema | None
    gzipped: bool = False
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
    """A line or row: its number, its columns by name, and why it is no record, if it is none."""

    number: int
    columns: dict[str, Any]
    problem: str = ""


def recognise(path: str, uri_column: str) -> ImageList:
    """Tells what kind of list a file is, by its ending and its content.

    Raises:
        UserError: it is none that is read here.
    """
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    gzipped = head.startswith(b"\x1f\x8b")
    if gzipped:
        with contextlib.suppress(zlib.error):
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    if head.startswith(b"PAR1"):
        if gzipped:
            raise UserError(f"--input {path} is a gzipped Parquet file: unpack it, its pages are compressed already")
        return ImageList(path, PARQUET, _schema_of_parquet(path, uri_column))
    picture = has_known_signature(head) and b"\0" in head[:32]  # a list may begin with BMW/1.jpg
    if path.lower().endswith(IMAGE_ENDINGS) or (picture and not gzipped):
        return ImageList(path, IMAGE, _NO_COLUMNS)
    if not head and not gzipped:
        raise UserError(f"--input {path} is empty: it names no images")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"--input {path} is UTF-16: save it as UTF-8")
    if head.startswith(b"PK\3\4"):
        raise UserError(f"--input {path} is a spreadsheet or another zip: save it as CSV in UTF-8")
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    if not first.replace("\t", " ").isprintable():
        raise UserError(f"--input {path} is no text: give a folder, a glob, or a list of URIs, see the README")
    kind, delimiters = _kind(path, first, uri_column)
    if kind == CSV:
        return _with_header(ImageList(path, CSV, _NO_COLUMNS, gzipped), first, delimiters, uri_column)
    if kind == JSON_LINES:
        _check_keys(path, head, uri_column)
    return ImageList(path, kind, None if kind == JSON_LINES else _NO_COLUMNS, gzipped)


def _kind(path: str, first: str, uri_column: str) -> tuple[str, str]:
    """The kind of a text file and the delimiters that it may have."""
    ending = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    if ending in PARQUET_ENDINGS:
        raise UserError(f"--input {path} is no Parquet file, whatever its name says")
    if first.startswith("[") and (ending == ".json" or ENDINGS.get(ending) == JSON_LINES):
        raise UserError(f"--input {path} is one JSON value: write JSON Lines, an object on each line (jq -c '.[]')")
    if ending in ENDINGS:
        return ENDINGS[ending], "\t" if ending in (".tsv", ".tab") else DELIMITERS
    if first.startswith("{"):
        return JSON_LINES, ""
    has_column = any(uri_column in _cells(first, delimiter) for delimiter in DELIMITERS)
    return (CSV, DELIMITERS) if has_column else (TEXT, "")


def _check_keys(path: str, head: bytes, uri_column: str) -> None:
    """Refuses JSON Lines of which none of the first has the URI column: another one is meant."""
    keys: dict[str, None] = {}
    for line in head.split(b"\n")[:BATCH_ROWS]:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            keys |= dict.fromkeys(value) if isinstance(value, dict) else {}
    if keys and uri_column not in keys:
        shown = ", ".join(keys)[:100]
        raise UserError(f"--input {path} has no column {uri_column!r}, only {shown}; --uri-column names another")


def is_one_by_name(path: str) -> bool:
    """Whether a path or a glob has the ending of a list."""
    return os.path.splitext(path.lower().removesuffix(".gz"))[1] in (*ENDINGS, *PARQUET_ENDINGS)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _with_header(found: ImageList, first: str, delimiters: str, uri_column: str) -> ImageList:
    delimiter = next((mark for mark in delimiters if uri_column in _cells(first, mark)), delimiters[0])
    with open_bytes(found.path, gzipped=found.gzipped) as file:
        lengths: list[int] = []
        header, lines = _Taken(0, []), 0
        for header in _csv_records(_text(_measured(file, lengths)), delimiter):
            lines += header.lines
            if header.cells or header.wrong:  # the first line that is not blank
                break
    if not header.cells:
        raise UserError(f"--input {found.path}: the first line is no CSV: {first[:100]!r}")
    if not _is_utf8(header.cells):
        raise UserError(f"--input {found.path} is not UTF-8 in its first line: save it as UTF-8")
    columns = tuple(cell.strip() for cell in header.cells)
    shown = delimiter.join(columns)[:100]
    if uri_column not in columns:
        raise UserError(f"--input {found.path} has no column {uri_column!r}, only {shown}; --uri-column names another")
    if len(set(columns)) < len(columns):
        raise UserError(f"--input {found.path} has two columns of the same name: {shown!r}")
    schema = pa.schema([(name, pa.string()) for name in columns if name != uri_column])
    start, line = sum(lengths[:lines]), 1 + lines
    return dataclasses.replace(found, schema=schema, columns=columns, delimiter=delimiter, start=start, line=line)


def _is_utf8(cells: list[str]) -> bool:
    try:
        "".join(cells).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _schema_of_parquet(path: str, uri_column: str) -> pa.Schema:
    with open_bytes(path) as file:
        schema = _parquet(file, path).schema_arrow
    if uri_column not in schema.names:
        shown = ", ".join(schema.names)[:100]
        raise UserError(f"--input {path} has no column {uri_column!r}, only {shown}; --uri-column names another")
    if len(set(schema.names)) < len(schema.names):
        raise UserError(f"--input {path} has two columns of the same name: {', '.join(schema.names)[:100]}")
    return pa.schema([_plain_field(field) for field in schema if field.name != uri_column])


def parts(found: ImageList) -> Iterator[Part]:
    """Divides a list where it can be divided."""
    if found.kind == IMAGE or found.gzipped:
        yield Part(found, found.start, None, found.line)
    elif found.kind == PARQUET:
        with open_bytes(found.path) as file:
            metadata = _parquet(file, found.path).metadata
        row = 1
        for group in range(metadata.num_row_groups):
            yield Part(found, group, None, row)
            row += metadata.row_group(group).num_rows
    else:
        yield from _line_parts(found)


def _line_parts(found: ImageList) -> Iterator[Part]:
    position, line = found.start, found.line
    with open_bytes(found.path) as file:
        while True:
            file.seek(position)
            block = file.read(PART_BYTES)
            if not block:
                return
            block += file.readline()
            size, lines = len(block), block.count(b"\n")
            if found.kind == CSV and b'"' in block:
                file.seek(position)
                size, lines = _whole_records(file, found.delimiter, size)
            yield Part(found, position, position + size, line)
            position, line = position + size, line + lines


def _whole_records(file: io.BufferedIOBase, delimiter: str, least: int) -> tuple[int, int]:
    """How many bytes and lines the records have that begin in the next `least` bytes; a record may have many lines."""
    lengths: list[int] = []
    size = taken = 0
    for record in _csv_records(_text(_measured(file, lengths)), delimiter):
        size += sum(lengths[taken : taken + record.lines])
        taken += record.lines
        if size >= least:
            break
    return size, taken


def records(part: Part, uri_column: str) -> Iterator[Record]:
    """The records of a part, in a stream. Blank lines are none."""
    if part.list.kind == IMAGE:
        yield Record(1, {uri_column: part.list.path})
    elif part.list.kind == PARQUET:
        yield from _parquet_records(part)
    else:
        with open_bytes(part.list.path, gzipped=part.list.gzipped) as file:
            file.seek(part.start)
            lines = _text(_until(file, part))
            if part.list.kind == CSV:
                yield from _rows(lines, part)
            elif part.list.kind == JSON_LINES:
                yield from _objects(lines, part.line)
            else:
                stripped = ((number, line.strip()) for number, line in enumerate(lines, start=part.line))
                yield from (Record(number, {uri_column: line}) for number, line in stripped if line)


def _parquet_records(part: Part) -> Iterator[Record]:
    number = part.line
    with open_bytes(part.list.path) as file:
        for batch in _batches(file, part):
            try:
                found = [Record(0, row) for row in _plain(batch).to_pylist()]
            except _NO_VALUE:
                found = [_record_of(batch.slice(row, 1)) for row in range(len(batch))]
            for record in found:
                yield record._replace(number=number)
                number += 1


def _batches(file: Any, part: Part) -> Iterator[pa.RecordBatch]:
    try:
        yield from _parquet(file, part.list.path).iter_batches(BATCH_ROWS, row_groups=[part.start])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"--input {part.list.path} is damaged or not readable: {error}") from error


def _record_of(row: pa.RecordBatch) -> Record:
    try:
        return Record(0, _plain(row).to_pylist()[0])
    except UnicodeDecodeError:
        return Record(0, {}, "not UTF-8")
    except _NO_VALUE as error:
        return Record(0, {}, f"a value that Python cannot hold: {error}")


def _rows(lines: Iterator[str], part: Part) -> Iterator[Record]:
    columns, number = part.list.columns, part.line
    for record in _csv_records(lines, part.list.delimiter):
        if record.wrong:
            shown = record.wrong.strip()[:200]
            yield Record(number, {}, f"no CSV, a quote is not closed or has text after it: {shown}")
        elif len(record.cells) == len(columns):
            yield Record(number, dict(zip(columns, record.cells, strict=True)))
        elif any(map(str.strip, record.cells)):
            cut = part.list.delimiter.join(record.cells)[:200]
            yield Record(number, {}, f"{len(record.cells)} cells, the header {len(columns)}: {cut}")
        number += record.lines


def _objects(lines: Iterator[str], number: int) -> Iterator[Record]:
    for number, line in enumerate(lines, start=number):  # noqa: B020, PLR1704
        if not line or line.isspace():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield Record(number, {}, f"no JSON, {error.msg} at column {error.colno}: {line.strip()[:200]}")
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets as deep
            yield Record(number, {}, f"no JSON that can be read, {error}: {line.strip()[:200]}")
        else:
            problem = "" if isinstance(value, dict) else f"no JSON object: {line.strip()[:200]}"
            yield Record(number, {} if problem else value, problem)


class _Taken(NamedTuple):
    """A record of a CSV and how many lines it has; no cells for a blank line; or one line that is no record."""

    lines: int
    cells: list[str]
    wrong: str = ""


def _csv_records(lines: Iterator[str], delimiter: str) -> Iterator[_Taken]:
    """The records of a CSV.

    A line with a quote that is never closed would swallow all lines after it. It becomes an error of its own, and the
    lines after it are read again.
    """
    waiting: collections.deque[str] = collections.deque()
    while True:
        waiting.extend(itertools.islice(lines, max(0, BATCH_ROWS - len(waiting))))
        if not waiting:
            return
        whole = 0
        reader = csv.reader(waiting, delimiter=delimiter, strict=True)
        try:
            for cells in reader:  # as long as each line is a record
                if reader.line_num > whole + 1:
                    break
                whole += 1
                yield _Taken(1, cells)
        except csv.Error:
            pass
        for _ in range(whole):
            waiting.popleft()
        if waiting:
            yield _one_record(waiting, lines, delimiter)


def _one_record(waiting: collections.deque[str], lines: Iterator[str], delimiter: str) -> _Taken:
    """A record that has several lines, or none; what it does not take stays in `waiting`, or goes back there."""
    taken: list[str] = []
    try:
        cells = next(csv.reader(_taking(taken, waiting, lines), delimiter=delimiter, strict=True))
    except csv.Error:
        waiting.extendleft(reversed(taken[1:]))
        return _Taken(1, [], taken[0])
    return _Taken(len(taken), cells)


def _taking(taken: list[str], waiting: collections.deque[str], lines: Iterator[str]) -> Iterator[str]:
    """The lines of `waiting`, then those of `lines`, each remembered in `taken`."""
    while True:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        taken.append(line)
        yield line


@contextlib.contextmanager
def open_bytes(path: str, *, gzipped: bool = False) -> Iterator[Any]:
    """A file's bytes, unpacked if it is gzipped.

    Raises:
        UserError: it is cut short or damaged, which must end a run: nobody knows what the rest would have listed.
    """
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        if not gzipped:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"--input {path} is damaged: {error}") from error


def _until(file: Any, part: Part) -> Iterator[bytes]:
    """The lines of a part."""
    left = part.end - part.start if part.end is not None else None
    for line in file:
        yield line
        if left is not None:
            left -= len(line)
            if left <= 0:
                return


def _measured(lines: Iterator[bytes], lengths: list[int]) -> Iterator[bytes]:
    for line in lines:
        lengths.append(len(line))
        yield line


def _text(lines: Iterator[bytes]) -> Iterator[str]:
    """Lines as text; bytes that are no UTF-8 become surrogates, so that one bad line harms no other."""
    for line in lines:
        yield line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _parquet(file: Any, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"--input {path} is no whole Parquet file: {error}") from error


def _plain_field(field: pa.Field) -> pa.Field:
    """A field with the type that its values have after `_plain`."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        kind = pa.timestamp("us", kind.tz)
    elif kind == pa.time64("ns"):
        kind = pa.time64("us")
    elif kind == pa.duration("ns"):
        kind = pa.duration("us")
    elif pa.types.is_fixed_size_list(kind):  # of which Parquet cannot read back a row without one
        kind = pa.list_(kind.value_field)
    return pa.field(field.name, kind)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times of nanoseconds to microseconds, since Python's own have no more."""
    fields = [_plain_field(field) for field in batch.schema]
    columns = [
        column.cast(field.type, safe=False) if column.type != field.type else column
        for column, field in zip(batch.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
