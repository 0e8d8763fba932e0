"""Reads the head of a text file, from which the kind of a list and its columns are recognized.

The head is decompressed, converted to UTF-8, and split into lines like the rest of a list. Lines end with LF or CR LF;
if the head has no LF, they end with CR.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Sequence

from catalogue.cli.errors import UserError
from catalogue.lists.streams import lines_of, open_bytes, without_marks
from catalogue.lists.values import UTF_8, UTF_16

HEAD_BYTES, HEAD_LINES = 1 << 20, 1000
"""Maximum size of a head after decompression, in bytes and in lines."""

_LONGEST_LINE = 1 << 16
"""Number of bytes that are searched for a line end."""
PARQUET_MAGIC, _ZIP_MAGIC = b"PAR1", b"PK\3\4"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # not in text, unlike tabs and line endings
_MARKUP = re.compile(
    r"<(\?xml|!doctype|!--|(html|head|body|rss|feed|rdf:rdf|urlset|sitemapindex|svg)\b)", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Head:
    """The head of a text file.

    Attributes:
        path: local or remote path.
        gzipped: whether the file is gzipped.
        encoding: text encoding, UTF-8 or UTF-16.
        raw: lines as in the file, with their line ends. Unless `is_whole`, the last line may be incomplete.
        is_whole: whether the file has no other lines.
        ends_with_cr: whether a CR alone ends a line.
    """

    path: str
    gzipped: bool
    encoding: str
    raw: Sequence[str]
    is_whole: bool
    ends_with_cr: bool

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines without byte order marks and the DOS end-of-file mark, see `without_marks`."""
        return list(without_marks(self.raw))

    @property
    def complete(self) -> list[str]:
        """The lines that are certainly complete."""
        return self.lines if self.is_whole else self.lines[:-1]

    @functools.cached_property
    def blank(self) -> int:
        """Number of blank lines at the start."""
        return next((number for number, line in enumerate(self.lines) if line.strip()), len(self.lines))

    @property
    def first(self) -> str:
        """The first line that is not blank, without leading whitespace; an empty string if all lines are blank."""
        return self.lines[self.blank].lstrip() if self.blank < len(self.lines) else ""

    @property
    def is_empty(self) -> bool:
        """Whether the file has blank lines only."""
        return self.is_whole and not self.first


def head_of(path: str, *, gzipped: bool) -> Head:
    """Read the head of a text file.

    Raises:
        StorageError: the file cannot be read.
        UserError: the file is damaged, is not a text file, or is XML or HTML.
    """
    with open_bytes(path, gzipped=gzipped) as file:
        encoding = _encoding(path, file.read(4))
    with open_bytes(path, gzipped=gzipped, encoding=encoding) as file:
        start = file.read(_LONGEST_LINE)
        ends_with_cr = b"\r" in start and b"\n" not in start
    with open_bytes(path, gzipped=gzipped, encoding=encoding) as file:
        lines = list(itertools.islice(lines_of(file, HEAD_BYTES, ends_with_cr=ends_with_cr), HEAD_LINES))
        is_whole = len(lines) < HEAD_LINES and not file.read(1)
    head = Head(path, gzipped, encoding, lines, is_whole, ends_with_cr)
    _check_is_text(head)
    return head


def _encoding(path: str, magic: bytes) -> str:
    """Return the encoding given by the byte order mark. Raises UserError if the file is not text."""
    if magic == PARQUET_MAGIC:
        raise UserError(
            f"{path} is a gzipped Parquet file: unpack it with gunzip (Parquet compresses its pages itself)"
        )
    if magic == _ZIP_MAGIC:
        raise UserError(f"{path} is a spreadsheet or another zip file: save it as CSV in UTF-8")
    if magic in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        raise UserError(f"{path} is UTF-32: save it as UTF-8")
    return UTF_16 if magic.startswith((b"\xff\xfe", b"\xfe\xff")) else UTF_8


def _check_is_text(head: Head) -> None:
    """Reject a file that is not text, or whose text is markup."""
    first = head.first.rstrip()
    if "\0" in first[:2]:
        raise UserError(f"{head.path} is UTF-16 without a byte order mark: save it as UTF-8")
    if _CONTROL.search(first):
        raise UserError(
            f"{head.path} is not text: give a folder, a glob, or a list of URIs, see docs/reference/manifests.md"
        )
    if _MARKUP.match(first):
        raise UserError(f"{head.path} is XML or HTML, not a list: export it as CSV or JSON Lines")
