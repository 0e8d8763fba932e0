"""The values that travel between the steps of the pipeline. Frozen dataclasses, standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

URI_COLUMN = "uri"
OUTPUT_FORMATS = ("jsonl", "csv", "parquet")
AUTO, TENSORFLOW, OPENVINO = "auto", "tensorflow", "openvino"
FLOAT32, BFLOAT16 = "float32", "bfloat16"
ENGINES, PRECISIONS = (AUTO, TENSORFLOW, OPENVINO), (AUTO, FLOAT32, BFLOAT16)

Fields = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest.

    Attributes:
        uri: as the manifest gives it; the key of every row that is written about it.
        location: where the image is read: the URI made absolute.
        fields: the manifest's other columns.
    """

    uri: str
    location: str
    fields: Fields


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
class ListedImage:
    """An image and every line of the manifest that names it, however it spells its URI."""

    location: str
    rows: tuple[tuple[str, Fields], ...]


@dataclasses.dataclass(frozen=True)
class FetchedImage:
    """The undecoded bytes of an image, their SHA-256, hexadecimal, and the version that the storage gave with them."""

    listed: ListedImage
    data: bytes
    content_hash: str
    version: str | None


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """A decoded image: uint8 [H, W, 3], and the SHA-256 of its bytes, hexadecimal."""

    listed: ListedImage
    content_hash: str
    image: Any


@dataclasses.dataclass(frozen=True)
class ScoredImage:
    """An image with its best labels and their calibrated probabilities, best first."""

    listed: ListedImage
    content_hash: str
    top: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A row of ``predictions/``. `location` is not written; it says where the report finds the photo."""

    uri: str
    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    model_id: str
    content_hash: str
    fields: Fields
    location: str

    def to_row(self) -> dict[str, Any]:
        """The row as it is written."""
        return {
            "uri": self.uri,
            "label": self.label,
            "score": self.score,
            "top": [{"label": label, "score": score} for label, score in self.top],
            "model_id": self.model_id,
            "content_hash": self.content_hash,
            "fields": self.fields,
        }


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
        return dataclasses.asdict(self)


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
    """A finished file of rows, not yet in its place: which folder it belongs to, where it is, how many rows it has."""

    folder: str
    path: str
    rows: int
