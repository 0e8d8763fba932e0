"""The values that travel between the steps of the pipeline, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

URI_COLUMN = "uri"
JSON_LINES = "jsonl"
OUTPUT_FORMATS = (JSON_LINES, "csv", "parquet")
AUTO, TENSORFLOW, OPENVINO = "auto", "tensorflow", "openvino"
FLOAT32, BFLOAT16 = "float32", "bfloat16"
ENGINES, PRECISIONS = (AUTO, TENSORFLOW, OPENVINO), (AUTO, FLOAT32, BFLOAT16)

FRESH, IDENTICAL = "fresh", "identical"
"""Sources of results of this run: classified, or for bytes identical to those of an image that was classified."""
UNREAD, CONDITIONAL, CONTENT = "unread", "conditional", "content"
REUSED = (UNREAD, CONDITIONAL, CONTENT)
"""Sources of reused results: without a read, after a conditional read, because the bytes are identical."""

Fields = dict[str, Any]
Top = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest.

    Attributes:
        uri: as the manifest gives it; the key of every row that is written about it.
        location: where the image is read: the URI made absolute.
        fields: the manifest's other columns.
        version: of the image, where a listing gives it.
    """

    uri: str
    location: str
    fields: Fields
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """What the inputs hold beside images: numbers of hidden files, and of rows without a URI that may be left out."""

    hidden_files: int = 0
    rows_without_uri: int = 0


def total_left_out(counts: Iterable[LeftOut]) -> LeftOut:
    """The sum of several counts."""
    found = list(counts)
    return LeftOut(sum(one.hidden_files for one in found), sum(one.rows_without_uri for one in found))


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of several shares of a manifest, each of which is classified by itself.

    Attributes:
        index: which one, from 1.
        count: how many there are.
    """

    index: int
    count: int

    def has(self, key: int) -> bool:
        """Whether what has this key belongs to it, see `row_key`."""
        return key % self.count == self.index - 1


def row_key(text: str) -> int:
    """A number of 64 bits for what identifies a row: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclasses.dataclass(frozen=True)
class Whole:
    """All rows of a manifest of which a shard is a share; shards of the same rows have the same.

    Attributes:
        rows: how many there are.
        digest: the sum of their keys, of 64 bits.
    """

    rows: int = 0
    digest: int = 0


def total_whole(parts: Iterable[Whole]) -> Whole:
    """The sum of several parts."""
    found = list(parts)
    return Whole(sum(one.rows for one in found), sum(one.digest for one in found) % 2**64)


class Result(NamedTuple):
    """What was found for an image: its best labels, or the reason why it has none.

    Attributes:
        location: of the image, with credentials masked; empty for a line of a manifest that names none.
        version: the state that the storage said the image has; None where it is not known.
        content_hash: the SHA-256 of its bytes, hexadecimal; None if they were not read.
        top: the best labels and their calibrated probabilities, best first; empty if it was not classified.
        reason: the code of a `catalogue.reasons.Reason`; None if it was classified.
        transient: whether a later run may succeed although the image is the same.
        message: the details of the reason.
    """

    location: str
    version: str | None = None
    content_hash: str | None = None
    top: Top = ()
    reason: str | None = None
    transient: bool = False
    message: str = ""

    def with_version(self, version: str | None) -> Result:
        """The same result for another version of the image."""
        return self._replace(version=version)


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """An image and every line of the manifest that names it, however it spells its URI.

    Attributes:
        location: where it is read.
        rows: the URI and the fields of each line.
        version: of the image, where a listing gave it.
        known: results of earlier attempts and runs.
        packet: with which it travels, see `pipeline.manifest.partitions`; 0 on the local runner.
    """

    location: str
    rows: tuple[tuple[str, Fields], ...]
    version: str | None = None
    known: tuple[Result, ...] = ()
    packet: int = 0


@dataclasses.dataclass(frozen=True)
class FetchedImage:
    """The undecoded bytes of an image, their SHA-256, hexadecimal, and the version that the storage gave with them."""

    listed: ListedImage
    data: bytes
    content_hash: str
    version: str | None


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """A decoded image: uint8 [H, W, 3]; the other attributes are those of its `FetchedImage`."""

    listed: ListedImage
    content_hash: str
    version: str | None
    image: Any


@dataclasses.dataclass(frozen=True)
class FinishedImage:
    """An image with its result.

    Attributes:
        listed: the image.
        result: what was found.
        source: where the result is from: `FRESH`, `IDENTICAL`, or one of `REUSED`.
    """

    listed: ListedImage
    result: Result
    source: str = FRESH

    @property
    def is_retried(self) -> bool:
        """Whether the image was tried again after a transient failure in an earlier attempt or run."""
        return self.source in (FRESH, IDENTICAL) and any(result.transient for result in self.listed.known)

    def predictions(self, model_id: str) -> Iterator[Prediction]:
        """The rows of a classified image, one for each line of the manifest that names it."""
        if self.result.top:
            label, score = self.result.top[0]
            for uri, fields in self.listed.rows:
                yield Prediction(uri, label, score, self.result.top, model_id, self.result.content_hash, fields)

    def dead_letters(self) -> Iterator[DeadLetter]:
        """The rows of an image that was not classified, one for each line of the manifest that names it."""
        if self.result.reason is not None:
            for uri, fields in self.listed.rows:
                yield DeadLetter(uri, self.result.reason, self.result.transient, self.result.message, fields)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A row of ``predictions/``."""

    uri: str
    label: str
    score: float
    top: Top
    model_id: str
    content_hash: str | None
    fields: Fields

    def to_row(self) -> dict[str, Any]:
        """The row as it is written."""
        top = [{"label": label, "score": score} for label, score in self.top]
        return dict(vars(self), top=top)


@dataclasses.dataclass(frozen=True)
class DeadLetter:
    """A row of ``dead_letters/``: an image that was not classified, and why."""

    uri: str
    reason: str
    transient: bool
    message: str
    fields: Fields

    def to_row(self) -> dict[str, Any]:
        """The row as it is written."""
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class ReportPhoto:
    """A photo that the report shows of a class."""

    score: float
    uri: str
    location: str


@dataclasses.dataclass(frozen=True)
class ClassStats:
    """The statistics of one class.

    Attributes:
        count: predictions with this label.
        score_sum: of their scores.
        histogram: how many scores lie in each of equal parts of [0, 1].
        surest, least_sure: a few examples, the most telling first.
    """

    count: int
    score_sum: float
    histogram: tuple[int, ...]
    surest: tuple[ReportPhoto, ...]
    least_sure: tuple[ReportPhoto, ...]


@dataclasses.dataclass(frozen=True, order=True)
class EngineChoice:
    """What runs the network.

    Attributes:
        engine: one of `ENGINES`, but not ``auto``.
        precision: one of `PRECISIONS`, but not ``auto``.
        device: ``CPU`` or ``GPU``.
        reason: why it and no other.
    """

    engine: str
    precision: str
    device: str
    reason: str = ""

    def in_words(self) -> str:
        """For a log, and for people."""
        return f"{self.engine} in {self.precision} on the {self.device} ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A file of the journal.

    Attributes:
        path: where it is.
        images: how many it has.
        predictions, dead_letters: how many rows these become.
    """

    path: str
    images: int
    predictions: int
    dead_letters: int


@dataclasses.dataclass(frozen=True)
class Part:
    """A file of rows that has not been put in its place.

    Attributes:
        folder: where it belongs.
        number: its place there, from 0.
        path: where it is.
        rows: how many it has.
        digest: of the chunks of the whole run, see `pipeline.run_dir.write_parts.Assignment`.
    """

    folder: str
    number: int
    path: str
    rows: int
    digest: str
