"""Beam transform that measures the bundles in which images are read, decoded and classified."""

from __future__ import annotations

import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from pipeline.metering.measurement import ALL
from pipeline.metering.meter import MeterHandle
from pipeline.records import DecodedImage, FinishedImage

_MEASUREMENTS = "measurements"


class MeasureBundles(beam.PTransform):
    """Pass images through and emit one `Measurement` per bundle.

    The transform must follow the measured steps in the same fused stage, so that its bundles include their work.

    Args:
        meter: handle to the meter of the run.
    """

    def __init__(self, meter: MeterHandle) -> None:
        super().__init__()
        self._fn = _MeasureBundlesFn(meter)

    def expand(self, images: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """Return the PCollection of `DecodedImage` or `FinishedImage`, and a PCollection of `Measurement`."""
        outputs = images | beam.ParDo(self._fn).with_outputs(_MEASUREMENTS, main="images")
        return outputs.images, outputs[_MEASUREMENTS]


class _MeasureBundlesFn(beam.DoFn):
    def __init__(self, meter: MeterHandle) -> None:
        self._handle = meter
        self._started: float | None = None

    def setup(self) -> None:
        self._meter = self._handle.get()

    def start_bundle(self) -> None:
        self.teardown()  # ends a previous bundle that failed
        self._meter.forget()
        self._meter.begin()
        self._started = time.perf_counter()

    def process(self, image: DecodedImage | FinishedImage) -> Iterator[DecodedImage | FinishedImage]:
        yield image
        if isinstance(image, FinishedImage):
            self._meter.count(classified=len(image.listed.rows))

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
