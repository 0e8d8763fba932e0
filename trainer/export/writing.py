"""Writing of a model directory, with a check that it can be read and reproduces its golden images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
from PIL import Image

from catalogue.cli.logs import say
from catalogue.images.spec import Limits
from catalogue.model_dir import INFO_FILE, ModelDir, ModelInfo, file_digest, read, saved_model
from catalogue.model_dir.info import canonical_json, model_id
from trainer.evaluation import model_card
from trainer.evaluation.evaluated import Evaluated
from trainer.export import publishing, signatures
from trainer.export.golden import golden_images


def write_and_publish(
    workplace: Path,
    path: str,
    model: keras.Model,
    info: ModelInfo,
    evaluated: Evaluated,
    limits: Limits,
    report: str,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> ModelInfo:
    """Write and publish a model directory, all or nothing.

    Args:
        workplace: local folder from `trainer.export.publishing.workplace`.
        path: final path of the model directory.
        model, report, files: arguments of `write`.
        info: model info from `identified`.
        evaluated: photos with their probabilities, from which the golden images are selected.
        limits: size limits of the photos.

    Returns:
        `info`, completed by `write`.

    Raises:
        ModelDirError: the written directory cannot be read, or does not reproduce its golden images.
    """
    golden = golden_images(evaluated, info.image, limits)
    card = model_card.model_card(info).encode("utf-8", "surrogateescape")
    say("writing the model directory")
    written = write(workplace / "model", model, info, golden, report, {**files, model_card.NAME: card})
    publishing.publish(written.path, path)
    return written.info


def identified(model: keras.Model, info: ModelInfo) -> ModelInfo:
    """Return `info` with the id and the network hash that the model will be written with."""
    found = dataclasses.replace(info, network_hash=_network_hash(model))
    return dataclasses.replace(found, id=model_id(found))


def write(
    path: str | os.PathLike[str],
    model: keras.Model,
    info: ModelInfo,
    golden_images: np.ndarray,
    report: str,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> ModelDir:
    """Write a model directory to a new local folder, and check that it can be read and reproduces its golden images.

    Args:
        path: a folder that does not exist yet.
        model: uint8 [N, H, W, 3] -> probabilities [N, K].
        info: model info; `id`, `network_hash` and `files` are filled in here.
        golden_images: uint8 [G, H, W, 3], G ≥ 1.
        report: content of ``report.html``.
        files: additional files, name -> content.

    Raises:
        ModelDirError: the directory cannot be read, or does not reproduce its golden images.
    """
    folder = Path(path)
    (folder / "golden").mkdir(parents=True)
    signatures.export(model, info, folder)
    model.save(folder / "model.keras")
    (folder / "report.html").write_text(report, encoding="utf-8")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    expected = {}
    for number, row in enumerate(model.predict_on_batch(golden_images)):
        expected[f"{number:02}.png"] = [float(value) for value in row]
        Image.fromarray(golden_images[number]).save(folder / "golden" / f"{number:02}.png")
    (folder / "golden/probabilities.json").write_text(json.dumps(expected), encoding="utf-8")
    digests = {
        str(file.relative_to(folder).as_posix()): file_digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    info = identified(model, dataclasses.replace(info, files=digests))
    (folder / INFO_FILE).write_text(json.dumps(info.to_json(), indent=1, ensure_ascii=False), encoding="utf-8")
    written = read(folder)
    saved_model.load(written)
    return written


def _network_hash(model: keras.Model) -> str:
    digest = hashlib.sha256(canonical_json(model.to_json()))
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(canonical_json([value.dtype.str, value.shape]))
        digest.update(value.tobytes())
    return digest.hexdigest()
