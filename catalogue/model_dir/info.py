"""The content of ``model.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from catalogue.cli.errors import UserError
from catalogue.images.spec import ImageSpec

FORMAT = 1
INFO_FILE = "model.json"
SIGNATURE_FILE = "model.sig"

SERVE_BYTES_NOTE = (
    "serve_bytes decodes with TensorFlow's own operations (JPEG, PNG, GIF, BMP): no EXIF orientation, no CMYK, no "
    "transparency over white, no colour profiles, no scaling while a JPEG is read. Scores differ a little from those "
    "of serving_default behind catalogue.images.reader."
)


class ModelDirError(UserError):
    """A directory that is no model directory, or one that must not be used; the message says which and why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The content of ``model.json``.

    A field that the first format did not have has a default, so that every model directory ever written can be read.

    Attributes:
        id: a hash of all that changes a prediction, see `model_id`. 16 hexadecimal digits.
        labels: the class names in the order of the probabilities.
        image: how images must be prepared.
        policy: the version of the image policy the model was trained with.
        temperature: what the logits are divided by inside the graph, fitted on validation.
        class_shares: label -> its share among the training photos; empty if the model was not fitted here.
        metrics: of the validation photos, see `trainer.evaluation.metrics`.
        test_metrics: the same of the test photos; None if there were none.
        training: backbone, weights, options and the history of the epochs.
        network: of each layer its name, kind, output shape, number of parameters, and whether it was fitted.
        data: numbers of photos, and a fingerprint of their contents and labels.
        versions: of Python and the packages that wrote it.
        created: when it was written, ISO 8601, UTC.
        files: path -> SHA-256 of every other file of the directory.
        network_hash: of the network and its weights; empty in directories that were written without. The id of such a
            directory is computed from the one that is written in it.
    """

    id: str
    labels: tuple[str, ...]
    image: ImageSpec
    policy: int
    temperature: float
    class_shares: dict[str, float]
    metrics: dict[str, Any]
    training: dict[str, Any]
    network: tuple[dict[str, Any], ...] = ()
    data: dict[str, Any]
    versions: dict[str, str]
    created: str
    files: dict[str, str]
    network_hash: str = ""
    test_metrics: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of ``model.json``; its last key is a checksum of the others."""
        content = (
            {"format": FORMAT} | dataclasses.asdict(self) | {"labels": list(self.labels), "network": list(self.network)}
        )
        content["signatures"] = {"serve_bytes": SERVE_BYTES_NOTE}
        return content | {"checksum": checksum(content)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ModelInfo:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError where `content` is something else."""
        required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        values = {
            field.name: content[field.name]
            for field in dataclasses.fields(cls)
            if field.name in required | set(content)
        }
        image = ImageSpec(**values.pop("image"))
        labels, network = tuple(values.pop("labels")), tuple(values.pop("network", ()))
        return cls(image=image, labels=labels, network=network, **values)


def model_id(info: ModelInfo) -> str:
    """The id of a model: a hash of what it stands for. Labels, temperature and image spec cannot change without it."""
    spec = dataclasses.asdict(info.image)
    stands_for = [FORMAT, info.policy, spec, info.labels, info.temperature, info.network_hash]
    return hashlib.sha256(canonical_json(stands_for)).hexdigest()[:16]


def canonical_json(value: Any) -> bytes:
    """A value as JSON that is the same for equal values: what is hashed."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def checksum(content: dict[str, Any]) -> str:
    """The checksum of ``model.json``: SHA-256 of its other keys, hexadecimal."""
    return hashlib.sha256(canonical_json(content)).hexdigest()
