"""The model directory: write, read and verify it. The contract between the trainer and everything that classifies.

::

    saved_model.pb  variables/  fingerprint.pb              the SavedModel; its variables are constants
    model.json                                              everything needed to use it right (`ModelInfo`)
    golden/NN.png  golden/probabilities.json                a few images and the probabilities the model gave them
    model.keras                                             the same network for fine-tuning further
    report.html                                             the evaluation, with pictures

Signatures of the SavedModel:

* ``serving_default``: ``images`` uint8 [N, H, W, 3] -> ``probabilities`` float32 [N, K], in the order of the labels;
* ``serve_bytes``: ``data`` string [N] -> ``labels`` string [N, k], ``scores`` float32 [N, k], best first, where k is 5
  or K, whichever is less.

Reading needs neither TensorFlow nor Keras; they are imported where a network is written or run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from catalogue.cli.console import UserError
from catalogue.images.reader import POLICY, RESIZE_RULES, ImageSpec
from catalogue.model_dir import saved_model
from catalogue.model_dir.saved_model import SavedModel
from catalogue.storage.files import is_remote

if TYPE_CHECKING:
    import keras

FORMAT = 1
INFO_FILE = "model.json"
GOLDEN_TOLERANCE = 1e-3
GOLDEN_MARGIN = 0.2
"""How far the first probability of a golden image is from the second, where there are enough such photos. What is off
by less than half of it has the same first label: no sound network is refused for what could be either of two things."""
SERVE_BYTES_NOTE = (
    "serve_bytes decodes with TensorFlow's own operations (JPEG, PNG, GIF, BMP): no EXIF orientation, no CMYK, no "
    "transparency over white, no colour profiles, no scaling while a JPEG is read. Scores differ a little from those "
    "of serving_default behind catalogue.images.reader."
)
_REQUIRED = ("saved_model.pb", "fingerprint.pb", "model.keras", "report.html", "golden/probabilities.json")


_REPLACED = "replaced"
REPAIR = (
    "the machine, the versions or the files are not those it was written with; train it again or repair the "
    "installation"
)


class ModelDirError(UserError):
    """A directory that is no model directory, or one that must not be used; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What ``model.json`` says.

    Attributes:
        id: a hash of all that changes a prediction: the weights, the network, the labels, the image spec and policy,
            the temperature. 16 hexadecimal digits.
        labels: the class names in the order of the probabilities.
        image: how images must be prepared.
        policy: the version of the image policy the model was trained with.
        temperature: what the logits are divided by inside the graph, fitted on validation.
        class_shares: label -> its share among the training photos; empty if the model was not fitted here.
        metrics: of the validation photos, see `trainer.evaluation.metrics`.
        training: backbone, weights, options and the history of the epochs.
        network: of each layer its name, kind, output shape, number of parameters, and whether it was fitted.
        data: numbers of photos, and a fingerprint of their contents and labels.
        versions: of Python and the packages that wrote it.
        created: when it was written, ISO 8601, UTC.
        files: path -> SHA-256 of every other file of the directory.
    """

    id: str
    labels: tuple[str, ...]
    image: ImageSpec
    policy: int
    temperature: float
    class_shares: dict[str, float]
    metrics: dict[str, Any]
    training: dict[str, Any]
    network: tuple[dict[str, Any], ...]
    data: dict[str, Any]
    versions: dict[str, str]
    created: str
    files: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The content of ``model.json``; its last key is a checksum of the others."""
        content = (
            {"format": FORMAT} | dataclasses.asdict(self) | {"labels": list(self.labels), "network": list(self.network)}
        )
        content["signatures"] = {"serve_bytes": SERVE_BYTES_NOTE}
        return content | {"checksum": _checksum(content)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ModelInfo:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError where `content` is something else."""
        values = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        image = ImageSpec(**values.pop("image"))
        labels, network = tuple(values.pop("labels")), tuple(values.pop("network"))
        return cls(image=image, labels=labels, network=network, **values)


@dataclasses.dataclass(frozen=True)
class ModelDir:
    """A model directory on a local disk that `read` has found in order."""

    path: Path
    info: ModelInfo

    def load(self) -> SavedModel:
        """Loads the network and lets it reproduce its golden images. Imports TensorFlow.

        Raises:
            ModelDirError: it does not reproduce them.
        """
        model = SavedModel(self.path)
        self.check_golden(model)
        return model

    def golden(self) -> tuple[np.ndarray, np.ndarray]:
        """The golden images, uint8 [G, H, W, 3], and their probabilities, float32 [G, K]."""
        expected: dict[str, list[float]] = json.loads((self.path / "golden/probabilities.json").read_text())
        images = [np.asarray(Image.open(self.path / "golden" / name).convert("RGB")) for name in expected]
        return np.stack(images), np.array(list(expected.values()), np.float32)

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
    missing = sorted(file for file in {*info.files, *_REQUIRED} if not (folder / file).is_file())
    if missing:
        raise ModelDirError(f"{name} is incomplete: {', '.join(missing)} missing; copy it again or train it again")
    unlisted = sorted(set(_REQUIRED) - set(info.files))
    changed = unlisted or [file for file, digest in info.files.items() if file_digest(folder / file) != digest]
    if changed:
        raise ModelDirError(
            f"{name} was changed after it was written: {', '.join(changed)}; copy it again or train it again"
        )
    return ModelDir(folder, info)


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
    if content.pop("checksum", None) != _checksum(content):
        raise ModelDirError(f"{name}: {INFO_FILE} was edited after it was written; train again to change a model")
    if content["policy"] != POLICY or content["image"]["resize"] not in RESIZE_RULES:
        raise ModelDirError(
            f"{name} wants images prepared by policy {content['policy']} and rule {content['image']['resize']!r}, "
            f"this version has policy {POLICY} and {', '.join(RESIZE_RULES)}: install the version it was trained with"
        )
    try:
        return ModelInfo.from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirError(f"{name}: {INFO_FILE} lacks or misstates {error}") from None


def write(
    path: str | os.PathLike[str],
    model: keras.Model,
    info: ModelInfo,
    golden_images: np.ndarray,
    report: str,
) -> ModelDir:
    """Writes a model directory into the new local folder `path` and checks that it reads and reproduces itself.

    Args:
        path: a folder that does not exist yet.
        model: uint8 [N, H, W, 3] -> probabilities [N, K].
        info: what is known of the model; `id` and `files` are filled in here.
        golden_images: uint8 [G, H, W, 3], G ≥ 1.
        report: the content of ``report.html``.

    Raises:
        ModelDirError: the SavedModel does not give the probabilities that `model` gives.
    """
    folder = Path(path)
    (folder / "golden").mkdir(parents=True)
    saved_model.export(model, info, folder)
    model.save(folder / "model.keras")
    (folder / "report.html").write_text(report, encoding="utf-8")
    expected = {}
    for number, row in enumerate(model.predict_on_batch(golden_images)):
        expected[f"{number:02}.png"] = [float(value) for value in row]
        Image.fromarray(golden_images[number]).save(folder / "golden" / f"{number:02}.png")
    (folder / "golden/probabilities.json").write_text(json.dumps(expected), encoding="utf-8")
    files = {
        str(file.relative_to(folder).as_posix()): file_digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    info = dataclasses.replace(info, id=_model_id(model, info), files=files)
    (folder / INFO_FILE).write_text(json.dumps(info.to_json(), indent=1, ensure_ascii=False), encoding="utf-8")
    written = read(folder)
    written.load()
    return written


def _model_id(model: keras.Model, info: ModelInfo) -> str:
    digest = hashlib.sha256()
    spec = dataclasses.asdict(info.image)
    digest.update(_canonical([FORMAT, info.policy, spec, info.labels, info.temperature, model.to_json()]))
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(_canonical([value.dtype.str, value.shape]))
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


@contextlib.contextmanager
def fetched(path: str) -> Iterator[ModelDir]:
    """`read` for a path that `tf.io.gfile` can read; a remote directory is copied for as long as the context lasts."""
    if not is_remote(path):
        yield read(path)
        return
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="model-") as copy:
        for folder, _, files in tf.io.gfile.walk(path):
            target = Path(copy, os.path.relpath(folder, path))
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                tf.io.gfile.copy(f"{folder.rstrip('/')}/{file}", str(target / file), overwrite=True)
        yield read(copy, shown_as=path)


def foreign_files(path: str) -> list[str] | None:
    """Which files of a folder, at any path that `tf.io.gfile` can read, are not those of the model directory it is.

    Returns:
        Their names; None if the folder is no model directory of ours at all.
    """
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(f"{path}/{INFO_FILE}", "r") as file:
            content = json.load(file)
        intact = content.pop("checksum") == _checksum(content)
    except (tf.errors.OpError, ValueError, KeyError, AttributeError, TypeError):
        return None
    if not intact:
        return None
    found = {os.path.relpath(f"{folder}/{name}", path) for folder, _, names in tf.io.gfile.walk(path) for name in names}
    return sorted(found - {INFO_FILE, *content["files"]})


@contextlib.contextmanager
def workplace(path: str) -> Iterator[Path]:
    """A new local folder to write a model directory in that `publish` can then move to `path`.

    It is made before any work is done, so that a place that cannot be written to is found out at once, and removed with
    the folders above it that had to be made, if nothing was published.

    Raises:
        UserError: nothing can be written there.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="model-") as folder:
            yield Path(folder)
        return
    target = Path(os.path.realpath(path))
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    workplace = target.with_name(f".writing-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(workplace, target)
    except OSError as error:
        why = f"{target.parent} is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"--model-dir {path} cannot be written ({why}): choose another") from error
    try:
        yield workplace
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        lock.close()
        for empty in made:
            with contextlib.suppress(OSError):  # not empty: the model is there
                empty.rmdir()


def _locked(folder: Path, target: Path) -> IO[bytes]:
    """Makes a folder for one process alone, and empties it of what one that was killed has left.

    Returns:
        An open file; closing it gives the folder free.

    Raises:
        UserError: another process has it.
    """
    folder.mkdir(exist_ok=True)
    lock = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError("another train is writing to this --model-dir: wait for it or choose another") from None
    if (folder / _REPLACED).exists() and not target.exists():
        (folder / _REPLACED).rename(target)  # it was killed between two renames
    shutil.rmtree(folder / "model", ignore_errors=True)
    return lock


def publish(folder: Path, path: str) -> None:
    """Moves a finished model directory to where it belongs, replacing the model directory that is there.

    On a local disk by renaming, so that nobody ever sees half of it; into an empty folder that is there already (it may
    be a mount point) and into an object store file by file, ``model.json`` last: `read` refuses a directory without it.
    """
    if is_remote(path):
        _upload(folder, path.rstrip("/"))
        return
    target = os.path.realpath(path)
    if os.path.isdir(target) and not os.listdir(target):
        for name in sorted(os.listdir(folder), key=lambda name: name == INFO_FILE):
            shutil.move(folder / name, target)
    elif os.path.lexists(target):
        replaced = folder.with_name(_REPLACED)
        os.rename(target, replaced)
        try:
            os.rename(folder, target)
        except OSError:
            os.rename(replaced, target)
            raise
    else:
        os.rename(folder, target)


def _upload(folder: Path, path: str) -> None:
    import tensorflow as tf

    if tf.io.gfile.exists(path):
        tf.io.gfile.rmtree(path)
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.name == INFO_FILE)
    for file in files:
        target = f"{path}/{file.relative_to(folder).as_posix()}"
        tf.io.gfile.makedirs(target.rpartition("/")[0])
        tf.io.gfile.copy(str(file), target, overwrite=True)
