"""Beam's RunInference over a model directory: batches of images to labels and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from catalogue import model_dir
from catalogue.cli.masking import masked_key
from catalogue.model_dir import ModelDirError
from pipeline.config import InferenceConfig
from pipeline.inference import engines
from pipeline.inference.engines import Engine
from pipeline.machine import cores, freeze_heap
from pipeline.metering.measurement import INFERENCE
from pipeline.metering.meter import MeterHandle
from pipeline.records import DecodedImage, FinishedImage, Result, Top


class SavedModelHandler(ModelHandler[DecodedImage, FinishedImage, Engine]):
    """Runs the SavedModel of a model directory under `RunInference`, one model to a process, in batches of one size.

    Beam's own TensorFlow handlers import tensorflow_hub and cannot load what Keras 3 exports.

    Args:
        path: the model directory, where every worker can read it.
        model_id: of the model that is expected there.
        config: how it is run.
        meter: of the run.
    """

    def __init__(self, path: str, model_id: str, config: InferenceConfig, meter: MeterHandle) -> None:
        super().__init__(min_batch_size=config.batch_size, max_batch_size=config.batch_size)
        self._path, self._model_id, self._config, self._meter = path, model_id, config, meter

    def load_model(self) -> Engine:
        """Loads the model into the engine that is fastest here and right: the golden images are tried on this machine.

        Raises:
            ModelDirError: no engine reproduces them, or the directory is not the one the run began with.
            UserError: the engine that is asked for is not to be had.
        """
        config = self._config
        threads = engines.Threads(config.callers or cores(), config.threads or 1)
        with model_dir.fetched(self._path, config.public_key) as model:
            if model.info.id != self._model_id:
                raise ModelDirError(f"{self._path} holds model {model.info.id}, the run began with {self._model_id}")
            engine = engines.choose(model, threads, engine=config.engine, precision=config.precision)
        freeze_heap()
        return engine

    def run_inference(
        self, batch: Sequence[DecodedImage], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[FinishedImage]:
        """Classifies a batch."""
        meter = self._meter.get()
        with meter.timing(INFERENCE):
            probabilities = model(np.stack([element.image for element in batch]))
        meter.add_batch(len(batch), model.choice)
        for element, row in zip(batch, probabilities, strict=True):
            best = top(row, model.labels, self._config.top_k)
            result = Result(masked_key(element.listed.location), element.version, element.content_hash, best)
            yield FinishedImage(element.listed, result)

    def get_num_bytes(self, batch: Sequence[DecodedImage]) -> int:
        """The size of a batch in bytes, for Beam's metrics, without pickling it to find out."""
        return sum(element.image.nbytes for element in batch)

    def get_metrics_namespace(self) -> str:
        """Where Beam's metrics of this step stand."""
        return "classify"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Batches of one size: Beam's own grow from one, which wastes the first hundreds of images."""
        return self._batching_kwargs


def top(row: np.ndarray, labels: Sequence[str], k: int) -> Top:
    """The `k` best labels of one image with their probabilities, best first, in the order of the labels where equal."""
    return tuple((labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:k])
