"""Batches of images to labels and scores: Beam's RunInference over a model directory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.transforms.window import GlobalWindows

from catalogue.model_dir import directory as model_dir
from catalogue.model_dir.directory import ModelDir, ModelDirError
from catalogue.storage.files import is_remote
from pipeline import storage
from pipeline.inference import engines
from pipeline.inference.engines import Engine
from pipeline.machine import cores, freeze_heap
from pipeline.metering.meter import ALL, INFERENCE, meter
from pipeline.records import EntryImage, EntryScores, Prediction

_MEASUREMENTS = "measurements"


@contextlib.contextmanager
def fetched(path: str) -> Iterator[ModelDir]:
    """`directory.read` for any path that Beam can read; a remote directory is copied for the context.

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


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """How the network is run.

    Attributes:
        engine: one of `pipeline.records.ENGINES`.
        precision: one of `pipeline.records.PRECISIONS`.
        batch_size: images that go through the network at once.
        top_k: labels kept of each image.
        callers: threads of a worker process that run batches at the same time; None for one for each of its cores.
        threads: that each batch is run on.
    """

    engine: str
    precision: str
    batch_size: int
    top_k: int
    callers: int | None
    threads: int


class SavedModelHandler(ModelHandler[EntryImage, EntryScores, Engine]):
    """Runs the SavedModel of a model directory under `RunInference`, one model to a process, in batches of one size.

    Beam's own TensorFlow handlers import tensorflow_hub and cannot load what Keras 3 exports.

    Args:
        path: the model directory, where every worker can read it.
        model_id: of the model that is expected there.
        config: how it is run.
        folder: of the run's unfinished files.
    """

    def __init__(self, path: str, model_id: str, config: InferenceConfig, folder: str) -> None:
        super().__init__(min_batch_size=config.batch_size, max_batch_size=config.batch_size)
        self._path, self._model_id, self._config, self._folder = path, model_id, config, folder

    def load_model(self) -> Engine:
        """Loads the model into the engine that is fastest here and right: the golden images are tried on this machine.

        Raises:
            ModelDirError: no engine reproduces them, or the directory is not the one the run began with.
            UserError: the engine that is asked for is not to be had.
        """
        config = self._config
        threads = engines.Threads(config.callers or cores(), config.threads)
        with fetched(self._path) as model:
            if model.info.id != self._model_id:
                raise ModelDirError(f"{self._path} holds model {model.info.id}, the run began with {self._model_id}")
            engine = engines.choose(model, threads, engine=config.engine, precision=config.precision)
        freeze_heap()
        return engine

    def run_inference(
        self, batch: Sequence[EntryImage], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[EntryScores]:
        """Classifies a batch."""
        own = meter(self._folder)
        with own.timing(INFERENCE):
            probabilities = model(np.stack([element.image for element in batch]))
        own.add_batch(len(batch), model.choice)
        for element, row in zip(batch, probabilities, strict=True):
            yield EntryScores(element.entry, element.content_hash, top(row, model.labels, self._config.top_k))

    def get_num_bytes(self, batch: Sequence[EntryImage]) -> int:
        """The size of a batch in bytes, for Beam's metrics, without pickling it to find out."""
        return sum(element.image.nbytes for element in batch)

    def get_metrics_namespace(self) -> str:
        """Where Beam's metrics of this step stand."""
        return "classify"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Batches of one size: Beam's own grow from one, which wastes the first hundreds of images."""
        return self._batching_kwargs


class Rows(beam.PTransform):
    """Scores to `Prediction`s, and what the bundles did and took to a `Measurement` each.

    It is the last of the steps that share a bundle with reading, decoding and inference: its bundles last as long as
    theirs.

    Args:
        model_id: of the model.
        folder: of the run's unfinished files.
    """

    def __init__(self, model_id: str, folder: str) -> None:
        super().__init__()
        self._fn = _RowsFn(model_id, folder)

    def expand(self, scores: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """PCollection of `EntryScores` to PCollections of `Prediction`s and of `Measurement`s."""
        outputs = scores | beam.ParDo(self._fn).with_outputs(_MEASUREMENTS, main="predictions")
        return outputs.predictions, outputs[_MEASUREMENTS]


class _RowsFn(beam.DoFn):
    def __init__(self, model_id: str, folder: str) -> None:
        self._model_id, self._folder = model_id, folder
        self._started: float | None = None

    def start_bundle(self) -> None:
        self.teardown()  # of a bundle that failed
        meter(self._folder).forget()
        meter(self._folder).begin()
        self._started = time.perf_counter()

    def process(self, scores: EntryScores) -> Iterator[Prediction]:
        yield from predictions(scores, self._model_id)
        meter(self._folder).count(classified=len(scores.entry.rows))

    def finish_bundle(self) -> Iterator[beam.pvalue.TaggedOutput]:
        assert self._started is not None
        own = meter(self._folder)
        own.add_seconds(ALL, time.perf_counter() - self._started)
        measurement = GlobalWindows.windowed_value_at_end_of_window(own.take())
        yield beam.pvalue.TaggedOutput(_MEASUREMENTS, measurement)
        self.teardown()

    def teardown(self) -> None:
        if self._started is not None:
            meter(self._folder).end()
        self._started = None


def predictions(scores: EntryScores, model_id: str) -> Iterator[Prediction]:
    """One row for each line of the manifest that names the image."""
    label, score = scores.top[0]
    for uri, fields in scores.entry.rows:
        location = scores.entry.location
        yield Prediction(uri, label, score, scores.top, model_id, scores.content_hash, fields, location)


def top(row: np.ndarray, labels: Sequence[str], k: int) -> tuple[tuple[str, float], ...]:
    """The `k` best labels of one image with their probabilities, best first, in the order of the labels where equal."""
    return tuple((labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:k])
