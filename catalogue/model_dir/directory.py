"""Reading and verification of model directories, and replay of their golden images."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from catalogue import storage
from catalogue.images.spec import COMPATIBLE_POLICIES, POLICY, RESIZE_RULES, VIEW_SEPARATOR
from catalogue.model_dir import operations, signature
from catalogue.model_dir.info import (
    EDITABLE_FILES,
    FORMAT,
    INFO_FILE,
    SIGNATURE_FILE,
    ModelDirError,
    ModelInfo,
    checksum,
    model_id,
)
from catalogue.reasons import StorageError

GOLDEN_TOLERANCE = 1e-3
GOLDEN_MARGIN = 0.2
"""Minimum gap between the top two probabilities of a golden image, if there are enough such photos. An error below half
of the gap cannot change the top label, so no sound network is rejected over an ambiguous photo."""

_REQUIRED = ("saved_model.pb", "fingerprint.pb", "model.keras", "report.html", "golden/probabilities.json")

REPAIR = (
    "the machine, the package versions or the files differ from those the model was written with; train the model "
    "again or repair the installation"
)


@dataclasses.dataclass(frozen=True)
class ModelDir:
    """Local model directory that `read` has verified."""

    path: Path
    info: ModelInfo

    @property
    def network_bytes(self) -> int:
        """Size of ``saved_model.pb`` in bytes. Nearly all of the file is weights."""
        return (self.path / "saved_model.pb").stat().st_size

    def golden(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the golden images, uint8 [G, H, W, 3], and their probabilities, float32 [G, K].

        Raises:
            ModelDirError: the golden images are missing or cannot be read.
        """
        try:
            expected: dict[str, list[float]] = json.loads((self.path / "golden/probabilities.json").read_text())
            listed = [name for name in expected if f"golden/{name}" in self.info.files]
            if not listed or len(listed) < len(expected):
                raise ValueError("probabilities.json names no images, or images that model.json lacks")
            images = [np.asarray(Image.open(self.path / "golden" / name).convert("RGB")) for name in listed]
            return np.stack(images), np.array(list(expected.values()), np.float32)
        except (OSError, ValueError, TypeError) as error:
            raise ModelDirError(f"{self.path}: golden/ cannot be read ({error}): train the model again") from error

    def check_golden(
        self,
        probabilities: Callable[[np.ndarray], np.ndarray],
        *,
        tolerance: float = GOLDEN_TOLERANCE,
        advice: str = REPAIR,
    ) -> None:
        """Replay the golden images and compare their probabilities.

        Args:
            probabilities: function of images uint8 [N, H, W, 3] that returns probabilities float32 [N, K].
            tolerance: largest permitted difference of a probability.
            advice: advice at the end of the error message.

        Raises:
            ModelDirError: the golden images cannot be read, the number of classes or the top label of a golden image
                differs, or a probability differs by more than `tolerance`.
        """
        images, expected = self.golden()
        actual = probabilities(images)
        if actual.shape != expected.shape:
            raise ModelDirError(
                f"{self.path}: the model has {actual.shape[-1]} classes, golden/ has {len(expected[0])}"
            )
        difference = np.abs(actual - expected).max(axis=1)
        relabeled = actual.argmax(1) != expected.argmax(1)
        wrong = ~(difference <= tolerance) | relabeled
        if wrong.any():
            raise ModelDirError(
                f"{self.path}: the model does not reproduce {wrong.sum()} of its {len(images)} golden images "
                f"({relabeled.sum()} with another label; probabilities differ by up to {difference.max():.2g}, the "
                f"tolerance is {tolerance:g}): {advice}"
            )


def read(path: str | os.PathLike[str], *, shown_as: str | None = None) -> ModelDir:
    """Read and verify a local model directory, without TensorFlow.

    Args:
        path: path of the directory.
        shown_as: name in error messages, if `path` is a copy of a remote directory.

    Raises:
        ModelDirError: the directory is not a model directory, is incomplete, has changed since it was written, contains
            other files, needs a newer or older version of this project, or has operations that are not permitted.
    """
    folder, name = Path(path), shown_as or str(path)
    if not folder.is_dir():
        raise ModelDirError(f"{name} is not a model directory (no such folder): train one with python -m trainer train")
    info = _parse(_read_json(folder / INFO_FILE, name), name)
    strange = [file for file in info.files if os.path.isabs(file) or os.path.normpath(file) != file or file[:2] == ".."]
    if strange:
        raise ModelDirError(f"{name}: {INFO_FILE} lists invalid paths ({', '.join(strange)}): train the model again")
    verified = {file: digest for file, digest in info.files.items() if file not in EDITABLE_FILES}
    missing = sorted(file for file in {*verified, *_REQUIRED} if not (folder / file).is_file())
    if missing:
        raise ModelDirError(f"{name} is incomplete ({', '.join(missing)} missing): copy it again or train it again")
    unlisted = sorted(set(_REQUIRED) - set(info.files))
    changed = unlisted or [file for file, digest in verified.items() if file_digest(folder / file) != digest]
    if changed:
        raise ModelDirError(
            f"{name} has changed since it was written ({', '.join(changed)}): copy it again or train it again"
        )
    extra = sorted(_files(folder) - {INFO_FILE, SIGNATURE_FILE, *info.files})
    if extra:
        raise ModelDirError(f"{name} contains files that are not part of it ({', '.join(extra[:5])}): remove them")
    operations.check(folder, name)
    return ModelDir(folder, info)


def _files(folder: Path) -> set[str]:
    """Return the relative paths of all files below a folder, and of the symlinks to folders."""
    found = set()
    for above, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]  # os.walk does not follow them
        found |= {Path(above, name).relative_to(folder).as_posix() for name in (*names, *links)}
    return found


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelDirError(f"{name} is not a model directory: it has no {INFO_FILE}") from None
    except (ValueError, OSError) as error:
        raise ModelDirError(f"{name}: {INFO_FILE} cannot be read ({error}): copy the directory again") from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ModelDirError(f"{name} is not a model directory: its {INFO_FILE} does not describe a model")
    return content


def _parse(content: dict[str, Any], name: str) -> ModelInfo:
    if content["format"] > FORMAT:
        raise ModelDirError(
            f"{name} has format {content['format']}, but this version reads {FORMAT}: install a newer version"
        )
    if content.pop("checksum", None) != checksum(content):
        raise ModelDirError(f"{name}: {INFO_FILE} was edited after it was written: train the model again")
    is_known = {*content["image"]["resize"].split(VIEW_SEPARATOR)} <= {*RESIZE_RULES}
    if content["policy"] not in COMPATIBLE_POLICIES or not is_known:
        raise ModelDirError(
            f"{name} needs image policy {content['policy']} and resize rule {content['image']['resize']!r}, but "
            f"this version has policy {POLICY} and {', '.join(RESIZE_RULES)}: install the version that trained the "
            "model"
        )
    try:
        info = ModelInfo.from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirError(
            f"{name}: a field of {INFO_FILE} is missing or invalid ({error}): train the model again"
        ) from None
    if not info.network_hash:  # written by a version that computed the id differently
        return dataclasses.replace(info, id=model_id(dataclasses.replace(info, network_hash=info.id)))
    if info.id != model_id(info):
        raise ModelDirError(f"{name}: its id {info.id} does not match its labels or image spec: train the model again")
    return info


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def fetched(path: str, public_key: str | None = None) -> Iterator[ModelDir]:
    """Read and verify a model directory at any path, through a temporary copy if it is remote.

    Args:
        path: local or remote path of the directory.
        public_key: content of a PEM file, see `catalogue.model_dir.signature.check_public_key`. The directory must be
            signed with its private key. None if no signature is required.

    Raises:
        ModelDirError: the directory cannot be read, or fails verification.
        UserError: a signature is required, but the extra ``signing`` is not installed.
    """
    if not storage.is_remote(path):
        yield _verified(Path(path), path, public_key)
        return
    with tempfile.TemporaryDirectory(prefix="model-") as copy:
        folder = path.rstrip("/")
        try:
            for file in storage.list_files(folder):
                inner = file.location.removeprefix(f"{folder}/")
                if os.path.normpath(inner) != inner or inner.startswith(("/", "..")):
                    raise ModelDirError(f"{path} contains files that are not part of it ({inner}): remove them")
                storage.copy(file.location, os.path.join(copy, inner))
        except StorageError as error:
            raise ModelDirError(f"{path} cannot be read: {error.message}") from error
        yield _verified(Path(copy), path, public_key)


def _verified(folder: Path, name: str, public_key: str | None) -> ModelDir:
    """Verify the signature of a local directory if a key is given, then read it."""
    if public_key is not None and folder.is_dir():
        signature.verify(folder, public_key, name)
    return read(folder, shown_as=name)
