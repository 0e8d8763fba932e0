"""Batches of images to labels and scores: Beam's RunInference over a model directory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from pipeline import storage
from pipeline.records import EntryImage, EntryScores, Prediction
from trainer import model_dir
from trainer.files import is_remote
from trainer.model_dir import ModelDir, ModelDirError, SavedModel


@contextlib.contextmanager
def fetched(path: str) -> Iterator[ModelDir]:
    """`trainer.model_dir.read` for any path that Beam can read; a remote directory is copied for the context.

    Raises:
        ModelDirError: it is no model directory, or not one to use.
    """
    if not is_remote(path):
        yield model_dir.read(path)
        return
    with tempfile.TemporaryDirectory(prefix="model-") as copy:
        _download(path.rstrip("/"), copy)
        yield model_dir.read(copy, shown_as=path)


def _download(path: str, folder: str) -> None:
    try:
        for file in storage.files(path):
            storage.copy(file, os.path.join(folder, file.removeprefix(path + "/")))
    except storage.ERRORS as error:
        raise ModelDirError(f"{path} cannot be read: {error}") from error


class SavedModelHandler(ModelHandler[EntryImage, EntryScores, SavedModel]):
    """Runs the SavedModel of a model directory under `RunInference`, one model to a process, in batches of one size.

    Beam's own TensorFlow handlers import tensorflow_hub and cannot load what Keras 3 exports.

    Args:
        path: the model directory, where every worker can read it.
        model_id: of the model that is expected there.
        batch_size: images in a batch; the last one of a bundle may be smaller.
        top_k: how many labels to keep of each image.
    """

    def __init__(self, path: str, model_id: str, batch_size: int, top_k: int) -> None:
        super().__init__(min_batch_size=batch_size, max_batch_size=batch_size)
        self._path, self._model_id, self._top_k = path, model_id, top_k

    def load_model(self) -> SavedModel:
        """Loads the model and lets it reproduce its golden images on this very machine.

        Raises:
            ModelDirError: it does not, or the directory is not the one the run began with.
        """
        with fetched(self._path) as model:
            if model.info.id != self._model_id:
                raise ModelDirError(f"{self._path} holds model {model.info.id}, the run began with {self._model_id}")
            return model.load()

    def run_inference(
        self, batch: Sequence[EntryImage], model: SavedModel, inference_args: dict[str, Any] | None = None
    ) -> Iterator[EntryScores]:
        """Classifies a batch."""
        probabilities = model(np.stack([element.image for element in batch]))
        for element, row in zip(batch, probabilities, strict=True):
            yield EntryScores(element.entry, element.content_hash, top(row, model.info.labels, self._top_k))

    def get_num_bytes(self, batch: Sequence[EntryImage]) -> int:
        """The size of a batch in bytes, for Beam's metrics, without pickling it to find out."""
        return sum(element.image.nbytes for element in batch)

    def get_metrics_namespace(self) -> str:
        """Where Beam's metrics of this step stand."""
        return "classify"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Batches of one size: Beam's own grow from one, which wastes the first hundreds of images."""
        return self._batching_kwargs


def predictions(scores: EntryScores, model_id: str) -> Iterator[Prediction]:
    """One row for each line of the manifest that names the image."""
    label, score = scores.top[0]
    for uri, fields in scores.entry.rows:
        location = scores.entry.location
        yield Prediction(uri, label, score, scores.top, model_id, scores.content_hash, fields, location)


def top(row: np.ndarray, labels: Sequence[str], k: int) -> tuple[tuple[str, float], ...]:
    """The `k` best labels of one image with their probabilities, best first, in the order of the labels where equal."""
    return tuple((labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:k])
