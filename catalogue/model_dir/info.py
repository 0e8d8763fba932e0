"""Content of ``model.json`` as a dataclass, and its id and checksum."""

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
EDITABLE_FILES = frozenset({"label_issues.csv"})
"""Files that people edit or delete in a model directory; only a signature covers them."""

SERVE_BYTES_NOTE = (
    "serve_bytes decodes images with TensorFlow operations (JPEG, PNG, GIF, BMP): no EXIF orientation, no CMYK, no "
    "transparency over white, no color profiles, no downscaling in the JPEG decoder. Its scores differ slightly from "
    "those of serving_default on images from catalogue.images.reader."
)


class ModelDirError(UserError):
    """Error for a directory that is not a model directory or must not be used. The message gives the reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Content of ``model.json``.

    Fields added after the first format have defaults, so that every model directory ever written can be read.

    Attributes:
        id: hash of everything that affects predictions, see `model_id`; 16 hexadecimal digits.
        labels: class names in the order of the probabilities.
        image: image preprocessing spec.
        policy: version of the image policy the model was trained with.
        temperature: divisor of the logits inside the graph, calibrated on the validation set.
        class_shares: label -> share of the training photos; empty for an imported model.
        metrics: metrics on the validation set, see `trainer.evaluation.metrics`.
        test_metrics: metrics on the test set; None if there was no test set.
        training: backbone, weights, options and epoch history.
        network: name, kind, output shape and parameter count of each layer, and whether it was trained.
        data: photo counts, and a fingerprint of the photos and labels.
        versions: versions of Python and of the packages that wrote the directory.
        created: creation time, ISO 8601, UTC.
        files: path -> SHA-256 of every file of the directory except ``model.json`` and ``model.sig``.
        network_hash: hash of the network and its weights; empty in directories written by older versions. For these,
            the id is recomputed with the stored id in place of this hash.
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
        """Return the content of ``model.json``; its last key is a checksum of the others."""
        content = (
            {"format": FORMAT} | dataclasses.asdict(self) | {"labels": list(self.labels), "network": list(self.network)}
        )
        content["signatures"] = {"serve_bytes": SERVE_BYTES_NOTE}
        return content | {"checksum": checksum(content)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ModelInfo:
        """Parse the output of `to_json`. Raises KeyError, TypeError or ValueError if `content` is invalid."""
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
    """Return the id of a model: a hash of format, image policy and spec, labels, temperature and network."""
    spec = dataclasses.asdict(info.image)
    stands_for = [FORMAT, info.policy, spec, info.labels, info.temperature, info.network_hash]
    return hashlib.sha256(canonical_json(stands_for)).hexdigest()[:16]


def canonical_json(value: Any) -> bytes:
    """Serialize a value as canonical JSON for hashing: equal values yield equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def checksum(content: dict[str, Any]) -> str:
    """Return the checksum of ``model.json``: SHA-256 of its other keys, hexadecimal."""
    return hashlib.sha256(canonical_json(content)).hexdigest()
