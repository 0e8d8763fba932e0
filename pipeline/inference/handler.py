"""Model handler that runs a model directory under Beam's RunInference."""

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
    """Handler that runs the SavedModel of a model directory under `RunInference`, with a fixed batch size.

    A process loads the model once, for all of its threads.

    Beam's own TensorFlow handlers import tensorflow_hub and cannot load Keras 3 exports.

    Args:
        path: model directory, readable by every worker.
        model_id: expected id of the model.
        config: inference settings.
        meter: handle to the meter of the run.
    """

    def __init__(self, path: str, model_id: str, config: InferenceConfig, meter: MeterHandle) -> None:
        super().__init__(min_batch_size=config.batch_size, max_batch_size=config.batch_size)
        self._path, self._model_id, self._config, self._meter = path, model_id, config, meter

    def load_model(self) -> Engine:
        """Load the model into the fastest engine that reproduces the golden images on this machine.

        Raises:
            ModelDirError: no engine reproduces the golden images, or the directory now holds another model.
            UserError: the requested engine is not available.
        """
        config = self._config
        threads = engines.Threads(config.callers or cores(), config.threads or 1)
        with model_dir.fetched(self._path, config.public_key) as model:
            if model.info.id != self._model_id:
                raise ModelDirError(
                    f"{self._path} holds model {model.info.id}, but the run started with {self._model_id}: "
                    "restore that model, or start a new run"
                )
            engine = engines.choose(model, threads, engine=config.engine, precision=config.precision)
        freeze_heap()
        return engine

    def run_inference(
        self, batch: Sequence[DecodedImage], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[FinishedImage]:
        """Classify a batch."""
        meter = self._meter.get()
        with meter.timing(INFERENCE):
            probabilities = model(np.stack([element.image for element in batch]))
        meter.add_batch(len(batch), model.choice)
        for element, row in zip(batch, probabilities, strict=True):
            best = top(row, model.labels, self._config.top_k)
            result = Result(masked_key(element.listed.location), element.version, element.content_hash, best)
            yield FinishedImage(element.listed, result)

    def get_num_bytes(self, batch: Sequence[DecodedImage]) -> int:
        """Return the size of a batch in bytes, for Beam's metrics. The default would pickle the batch."""
        return sum(element.image.nbytes for element in batch)

    def get_metrics_namespace(self) -> str:
        """Return the namespace of this step in Beam's metrics."""
        return "classify"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Return a fixed batch size: Beam's default grows from 1, which slows down the first hundreds of images."""
        return self._batching_kwargs


def top(row: np.ndarray, labels: Sequence[str], k: int) -> Top:
    """Return the `k` best labels of an image with their probabilities, best first; ties keep the label order."""
    return tuple((labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:k])
