"""Beam transform that turns scores into rows, and sums up what each bundle did."""

from __future__ import annotations

import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from pipeline.metering.measurement import ALL
from pipeline.metering.meter import MeterHandle
from pipeline.records import Prediction, ScoredImage

_MEASUREMENTS = "measurements"


class Rows(beam.PTransform):
    """Scores to `Prediction`s, and what the bundles did and took to a `Measurement` each.

    It is the last of the steps that share a bundle with reading, decoding and inference: its bundles last as long as
    theirs.

    Args:
        model_id: of the model.
        meter: of the run.
    """

    def __init__(self, model_id: str, meter: MeterHandle) -> None:
        super().__init__()
        self._fn = _RowsFn(model_id, meter)

    def expand(self, scores: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """PCollection of `ScoredImage` to PCollections of `Prediction`s and of `Measurement`s."""
        outputs = scores | beam.ParDo(self._fn).with_outputs(_MEASUREMENTS, main="predictions")
        return outputs.predictions, outputs[_MEASUREMENTS]


class _RowsFn(beam.DoFn):
    def __init__(self, model_id: str, meter: MeterHandle) -> None:
        self._model_id, self._handle = model_id, meter
        self._started: float | None = None

    def setup(self) -> None:
        self._meter = self._handle.get()

    def start_bundle(self) -> None:
        self.teardown()  # of a bundle that failed
        self._meter.forget()
        self._meter.begin()
        self._started = time.perf_counter()

    def process(self, scores: ScoredImage) -> Iterator[Prediction]:
        yield from predictions(scores, self._model_id)
        self._meter.count(classified=len(scores.listed.rows))

    def finish_bundle(self) -> Iterator[beam.pvalue.TaggedOutput]:
        assert self._started is not None
        self._meter.add_seconds(ALL, time.perf_counter() - self._started)
        measurement = GlobalWindows.windowed_value_at_end_of_window(self._meter.take())
        yield beam.pvalue.TaggedOutput(_MEASUREMENTS, measurement)
        self.teardown()

    def teardown(self) -> None:
        if self._started is not None:
            self._meter.end()
        self._started = None


def predictions(scores: ScoredImage, model_id: str) -> Iterator[Prediction]:
    """One row for each line of the manifest that names the image."""
    label, score = scores.top[0]
    for uri, fields in scores.listed.rows:
        location = scores.listed.location
        yield Prediction(uri, label, score, scores.top, model_id, scores.content_hash, fields, location)
