"""Elements passed between the steps of the pipeline, most of them frozen dataclasses."""

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
"""Sources of new results: the image itself was processed in this run, or another image with identical bytes was."""
UNREAD, CONDITIONAL, CONTENT = "unread", "conditional", "content"
REUSED = (UNREAD, CONDITIONAL, CONTENT)
"""Sources of reused results: the image was not read, a conditional read found no change, or its hash is known."""

Fields = dict[str, Any]
Top = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """An image named by a manifest. A cell with several URIs becomes several rows.

    Attributes:
        uri: URI as written in the manifest; copied to the output row.
        location: absolute URI to read the image from.
        fields: the manifest's other columns.
        version: version of the image; None if the listing does not provide it.
    """

    uri: str
    location: str
    fields: Fields
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Counts of skipped inputs: hidden files, and rows without a URI if the settings skip them."""

    hidden_files: int = 0
    rows_without_uri: int = 0


def total_left_out(counts: Iterable[LeftOut]) -> LeftOut:
    """Return the sum of several counts."""
    found = list(counts)
    return LeftOut(sum(one.hidden_files for one in found), sum(one.rows_without_uri for one in found))


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of several shards of a manifest, each classified in a separate run.

    Attributes:
        index: index of the shard, from 1.
        count: total number of shards.
    """

    index: int
    count: int

    def has(self, key: int) -> bool:
        """Return whether the row with this key belongs to the shard, see `row_key`."""
        return key % self.count == self.index - 1


def row_key(text: str) -> int:
    """Return a 64-bit hash of the text that identifies a row. The hash does not depend on the machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclasses.dataclass(frozen=True)
class Whole:
    """Fingerprint of all rows of a sharded manifest; shards of the same rows have the same fingerprint.

    Attributes:
        rows: number of rows.
        digest: sum of the row keys modulo 2**64.
    """

    rows: int = 0
    digest: int = 0


def total_whole(parts: Iterable[Whole]) -> Whole:
    """Return the sum of several parts."""
    found = list(parts)
    return Whole(sum(one.rows for one in found), sum(one.digest for one in found) % 2**64)


class Result(NamedTuple):
    """Result for an image: its best labels, or the reason why it was not classified.

    Attributes:
        location: location of the image with credentials masked; empty for a manifest line without an image.
        version: version reported by the storage, such as an ETag or a generation; None if unknown.
        content_hash: hexadecimal SHA-256 of the image's bytes; None if not read, or if memory ran out in decoding.
        top: best labels and their calibrated probabilities, best first; empty if not classified.
        reason: code of a `catalogue.reasons.Reason`; None if classified.
        transient: whether a later run may succeed with the same image.
        message: details of the reason.
    """

    location: str
    version: str | None = None
    content_hash: str | None = None
    top: Top = ()
    reason: str | None = None
    transient: bool = False
    message: str = ""

    def with_version(self, version: str | None) -> Result:
        """Return a copy of the result for another version of the image."""
        return self._replace(version=version)


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """An image and all manifest lines that refer to it, even if they spell its URI differently.

    Attributes:
        location: absolute URI to read the image from.
        rows: URI and fields of each line.
        version: version of the image; None if the listing does not provide it.
        known: results of earlier attempts and runs.
        packet: number of the image's packet, see `pipeline.manifest.partitions`; 0 on the local runner.
    """

    location: str
    rows: tuple[tuple[str, Fields], ...]
    version: str | None = None
    known: tuple[Result, ...] = ()
    packet: int = 0


@dataclasses.dataclass(frozen=True)
class FetchedImage:
    """The undecoded bytes of an image, their hexadecimal SHA-256 and the version that the storage reported."""

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
        result: the result of the image.
        source: source of the result: `FRESH`, `IDENTICAL` or one of `REUSED`.
    """

    listed: ListedImage
    result: Result
    source: str = FRESH

    @property
    def is_retried(self) -> bool:
        """Whether the image was retried after a transient failure in an earlier attempt or run."""
        return self.source in (FRESH, IDENTICAL) and any(result.transient for result in self.listed.known)

    def predictions(self, model_id: str) -> Iterator[Prediction]:
        """Yield the rows of a classified image, one for each of its manifest lines."""
        if self.result.top:
            label, score = self.result.top[0]
            for uri, fields in self.listed.rows:
                yield Prediction(uri, label, score, self.result.top, model_id, self.result.content_hash, fields)

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield the rows of an image that was not classified, one for each of its manifest lines."""
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
        """Return the row in the form that is written to files."""
        top = [{"label": label, "score": score} for label, score in self.top]
        return dict(vars(self), top=top)


@dataclasses.dataclass(frozen=True)
class DeadLetter:
    """A row of ``dead_letters/``: an image that was not classified, with the reason."""

    uri: str
    reason: str
    transient: bool
    message: str
    fields: Fields

    def to_row(self) -> dict[str, Any]:
        """Return the row in the form that is written to files."""
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class ReportPhoto:
    """An example photo of a class in the report."""

    score: float
    uri: str
    location: str


@dataclasses.dataclass(frozen=True)
class ClassStats:
    """Statistics of one class.

    Attributes:
        count: number of predictions with this label.
        score_sum: sum of their scores.
        histogram: number of scores in each of several equal bins of [0, 1].
        surest, least_sure: a few examples with the highest and the lowest scores, most extreme first.
    """

    count: int
    score_sum: float
    histogram: tuple[int, ...]
    surest: tuple[ReportPhoto, ...]
    least_sure: tuple[ReportPhoto, ...]


@dataclasses.dataclass(frozen=True, order=True)
class EngineChoice:
    """The engine that runs the network.

    Attributes:
        engine: one of `ENGINES`, but not ``auto``.
        precision: one of `PRECISIONS`, but not ``auto``.
        device: ``CPU`` or ``GPU``.
        reason: reason for the choice.
    """

    engine: str
    precision: str
    device: str
    reason: str = ""

    def in_words(self) -> str:
        """Return a description for logs and messages."""
        return f"{self.engine} in {self.precision} on the {self.device} ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A file of the journal.

    Attributes:
        path: path of the file.
        images: number of images in the file.
        predictions, dead_letters: numbers of output rows for these images.
    """

    path: str
    images: int
    predictions: int
    dead_letters: int


@dataclasses.dataclass(frozen=True)
class Part:
    """A finished file of rows that has not been moved to its final path.

    Attributes:
        folder: destination folder in the run directory.
        number: number of the part in that folder, from 0.
        path: current path of the file.
        rows: number of rows.
        digest: digest of all chunks of the run, see `pipeline.run_dir.write_parts.Assignment`.
    """

    folder: str
    number: int
    path: str
    rows: int
    digest: str
