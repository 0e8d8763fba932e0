"""Stand-ins for reading, decoding and the network, so that `benchmarks.graph` measures only the pipeline graph.

The worker processes must be able to import this module.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from pipeline import graph
from pipeline.config import ReadConfig
from pipeline.inference.handler import SavedModelHandler
from pipeline.metering.measurement import READING
from pipeline.metering.meter import MeterHandle
from pipeline.reading import decode
from pipeline.reading.outcome import FINISHED, Outcome
from pipeline.records import DecodedImage, EngineChoice, FetchedImage, ListedImage

READING_SECONDS, INFERENCE_SECONDS = 0.000_05, 0.000_2
"""Seconds per image that the stand-ins for reading and for the network sleep.

Together they are about a twentieth of the time that one core needs for a real photo with `MobileNetV2`. The stand-in
for decoding takes no time."""
_READ_TOGETHER = 16
_PIXELS = np.zeros((1, 1, 3), np.uint8)


def install() -> None:
    """Use the stand-ins in all graphs that this process builds later."""
    for name, stand_in in (("ReadAhead", Reading), ("Decode", Decoding), ("SavedModelHandler", Handler)):
        setattr(graph, name, stand_in)


class Reading(beam.PTransform):
    """Stand-in for `pipeline.reading.read_ahead.ReadAhead`: images without bytes, each with its own content hash."""

    def __init__(self, config: ReadConfig, meter: MeterHandle) -> None:
        super().__init__()
        self._meter = meter

    def expand(self, listed: beam.PCollection) -> Outcome:
        """Turn `ListedImage`s into a PCollection of `FetchedImage`s and an empty PCollection."""
        outputs = listed | beam.ParDo(_ReadingFn(self._meter)).with_outputs(FINISHED, main="results")
        return Outcome(outputs.results, outputs[FINISHED])


class _ReadingFn(beam.DoFn):
    def __init__(self, meter: MeterHandle) -> None:
        self._handle = meter

    def setup(self) -> None:
        self._meter, self._count = self._handle.get(), 0

    def process(self, image: ListedImage) -> Iterator[FetchedImage]:
        self._meter.check()
        if self._count % _READ_TOGETHER == 0:
            with self._meter.timing(READING):
                time.sleep(READING_SECONDS * _READ_TOGETHER)
        self._count += 1
        yield FetchedImage(image, b"", hashlib.sha256(image.location.encode()).hexdigest(), "1")


class Decoding(decode.Decode):
    """Stand-in for `pipeline.reading.decode.Decode`, which turns every image into the same single pixel."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fn = _DecodingFn(*arguments)


class _DecodingFn(decode._DecodeFn):
    def _decode(self, fetched: FetchedImage) -> Iterator[DecodedImage]:
        decoded = DecodedImage(fetched.listed, fetched.content_hash, fetched.version, _PIXELS)
        yield from self._pending.add(decoded)
        yield decoded


class Handler(SavedModelHandler):
    """Stand-in for the model handler, which loads no network."""

    def load_model(self) -> _Network:
        """Return an engine that only sleeps."""
        return _Network()


class _Network:
    """Engine that sleeps and returns random probabilities."""

    choice = EngineChoice("stand-in", "float32", "CPU", "it only waits")
    labels = tuple(f"class {number}" for number in range(10))

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        time.sleep(INFERENCE_SECONDS * len(images))
        return self._random.dirichlet(np.full(len(self.labels), 0.3), len(images)).astype(np.float32)
