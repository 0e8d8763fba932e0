"""A model directory on disk: read, verify, replay its golden images, load its network."""

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
from catalogue.model_dir.info import FORMAT, INFO_FILE, SIGNATURE_FILE, ModelDirError, ModelInfo, checksum, model_id
from catalogue.reasons import StorageError

GOLDEN_TOLERANCE = 1e-3
GOLDEN_MARGIN = 0.2
"""How far the first probability of a golden image is from the second, where there are enough such photos. What is off
by less than half of it has the same first label: no sound network is refused for what could be either of two things."""

_REQUIRED = ("saved_model.pb", "fingerprint.pb", "model.keras", "report.html", "golden/probabilities.json")

REPAIR = (
    "the machine, the versions or the files are not those it was written with; train it again or repair the "
    "installation"
)


@dataclasses.dataclass(frozen=True)
class ModelDir:
    """A model directory on a local disk that `read` has found in order."""

    path: Path
    info: ModelInfo

    @property
    def network_bytes(self) -> int:
        """The size of the network in bytes, nearly all of it weights."""
        return (self.path / "saved_model.pb").stat().st_size

    def golden(self) -> tuple[np.ndarray, np.ndarray]:
        """The golden images, uint8 [G, H, W, 3], and their probabilities, float32 [G, K].

        Raises:
            ModelDirError: there are none, or they cannot be read.
        """
        try:
            expected: dict[str, list[float]] = json.loads((self.path / "golden/probabilities.json").read_text())
            listed = [name for name in expected if f"golden/{name}" in self.info.files]
            if not listed or len(listed) < len(expected):
                raise ValueError("it names no images, or others than model.json")
            images = [np.asarray(Image.open(self.path / "golden" / name).convert("RGB")) for name in listed]
            return np.stack(images), np.array(list(expected.values()), np.float32)
        except (OSError, ValueError, TypeError) as error:
            raise ModelDirError(f"{self.path}: golden/ cannot be read ({error}); train the model again") from error

    def check_golden(
        self,
        probabilities: Callable[[np.ndarray], np.ndarray],
        *,
        tolerance: float = GOLDEN_TOLERANCE,
        advice: str = REPAIR,
    ) -> None:
        """Replays the golden images.

        Args:
            probabilities: uint8 [N, H, W, 3] -> float32 [N, K].
            tolerance: by how much a probability may differ.
            advice: what to do if they do not come out right.

        Raises:
            ModelDirError: a golden image gets another first label, or a probability that differs by more.
        """
        images, expected = self.golden()
        actual = probabilities(images)
        if actual.shape != expected.shape:
            raise ModelDirError(f"{self.path}: the model gives {actual.shape[-1]} classes, golden/ {len(expected[0])}")
        difference = np.abs(actual - expected).max(axis=1)
        relabelled = actual.argmax(1) != expected.argmax(1)
        wrong = ~(difference <= tolerance) | relabelled
        if wrong.any():
            raise ModelDirError(
                f"{self.path}: the model does not reproduce its golden images ({wrong.sum()} of {len(images)}; "
                f"{relabelled.sum()} with another label; a probability differs by {difference.max():.2g}, at most "
                f"{tolerance:g} is allowed): {advice}"
            )


def read(path: str | os.PathLike[str], *, shown_as: str | None = None) -> ModelDir:
    """Reads and verifies a model directory on a local disk, without TensorFlow.

    Args:
        path: the directory.
        shown_as: its name in error messages, for a copy of a remote one.

    Raises:
        ModelDirError: not a model directory, incomplete, of a newer format, or changed since it was written.
    """
    folder, name = Path(path), shown_as or str(path)
    if not folder.is_dir():
        raise ModelDirError(
            f"{name} is no model directory: there is no such folder; train one with python -m trainer train"
        )
    info = _parse(_read_json(folder / INFO_FILE, name), name)
    strange = [file for file in info.files if os.path.isabs(file) or os.path.normpath(file) != file or file[:2] == ".."]
    if strange:
        raise ModelDirError(f"{name}: {INFO_FILE} names files that cannot be its own: {', '.join(strange)}")
    missing = sorted(file for file in {*info.files, *_REQUIRED} if not (folder / file).is_file())
    if missing:
        raise ModelDirError(f"{name} is incomplete: {', '.join(missing)} missing; copy it again or train it again")
    unlisted = sorted(set(_REQUIRED) - set(info.files))
    changed = unlisted or [file for file, digest in info.files.items() if file_digest(folder / file) != digest]
    if changed:
        raise ModelDirError(
            f"{name} was changed after it was written: {', '.join(changed)}; copy it again or train it again"
        )
    extra = sorted(_files(folder) - {INFO_FILE, SIGNATURE_FILE, *info.files})
    if extra:
        raise ModelDirError(f"{name} holds files that do not belong to it: {', '.join(extra[:5])}; remove them")
    operations.check(folder, name)
    return ModelDir(folder, info)


def _files(folder: Path) -> set[str]:
    """The names of all files below a folder, and of the links to folders."""
    found = set()
    for above, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]  # which are not followed
        found |= {Path(above, name).relative_to(folder).as_posix() for name in (*names, *links)}
    return found


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelDirError(f"{name} is no model directory: it has no {INFO_FILE}") from None
    except (ValueError, OSError) as error:
        raise ModelDirError(f"{name}: {INFO_FILE} cannot be read ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ModelDirError(f"{name} is no model directory: its {INFO_FILE} is something else")
    return content


def _parse(content: dict[str, Any], name: str) -> ModelInfo:
    if content["format"] > FORMAT:
        raise ModelDirError(
            f"{name} has format {content['format']}, this version reads {FORMAT}: install a newer version"
        )
    if content.pop("checksum", None) != checksum(content):
        raise ModelDirError(f"{name}: {INFO_FILE} was edited after it was written; train again to change a model")
    is_known = {*content["image"]["resize"].split(VIEW_SEPARATOR)} <= {*RESIZE_RULES}
    if content["policy"] not in COMPATIBLE_POLICIES or not is_known:
        raise ModelDirError(
            f"{name} wants images prepared by policy {content['policy']} and rule {content['image']['resize']!r}, "
            f"this version has policy {POLICY} and {', '.join(RESIZE_RULES)}: install the version it was trained with"
        )
    try:
        info = ModelInfo.from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirError(f"{name}: {INFO_FILE} lacks or misstates {error}") from None
    if not info.network_hash:  # of a version that computed the id in another way
        return dataclasses.replace(info, id=model_id(dataclasses.replace(info, network_hash=info.id)))
    if info.id != model_id(info):
        raise ModelDirError(f"{name}: its id {info.id} is that of other labels, or of another image spec; train again")
    return info


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def fetched(path: str, public_key: str | None = None) -> Iterator[ModelDir]:
    """`read` for any path; a remote directory is copied to a local one for as long as the context lasts.

    Args:
        path: of the directory.
        public_key: the content of a PEM file, of the key that it must be signed with; None for none.

    Raises:
        ModelDirError: it cannot be read, or must not be used.
        UserError: the key cannot be used.
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
                    raise ModelDirError(f"{path} holds files that do not belong to it: {inner}; remove them")
                storage.copy(file.location, os.path.join(copy, inner))
        except StorageError as error:
            raise ModelDirError(f"{path} cannot be read: {error.message}") from error
        yield _verified(Path(copy), path, public_key)


def _verified(folder: Path, name: str, public_key: str | None) -> ModelDir:
    """Reads a local directory, once its signature is found in order."""
    if public_key is not None and folder.is_dir():
        signature.verify(folder, public_key, name)
    return read(folder, shown_as=name)
