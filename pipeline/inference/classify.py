"""Beam transform that classifies decoded images, optionally on separate machines."""

from __future__ import annotations

from collections.abc import Mapping

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipeline.inference.handler import SavedModelHandler
from pipeline.metering.bundles import MeasureBundles
from pipeline.metering.meter import MeterHandle
from pipeline.reading.identical import RememberResults, ResultsByContentHandle


class Classify(beam.PTransform):
    """Beam transform that classifies `DecodedImage`s and measures the bundles.

    With resource hints, inference runs in a separate stage from reading and decoding, so that only the inference
    machines need the requested resources. Dataflow is the only runner that honors the hints.

    Args:
        handler: model handler.
        results: handle to the results by content, to which the new results are added.
        meter: handle to the meter of the run.
        hints: Beam's resource hints for inference, ``accelerator`` and ``min_ram``; empty for none.
    """

    def __init__(
        self,
        handler: SavedModelHandler,
        results: ResultsByContentHandle,
        meter: MeterHandle,
        hints: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._meter, self._hints = meter, hints
        self._inference = _Inference(handler, results, meter)

    def expand(self, decoded: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """Turn `DecodedImage`s into PCollections of `FinishedImage`s and of `Measurement`s."""
        if not self._hints:
            return decoded | "Inference" >> self._inference
        decoded, of_reading = decoded | "Measure reading" >> MeasureBundles(self._meter)
        moved = decoded | "Move" >> beam.Reshuffle()
        classified, of_inference = moved | "Inference" >> self._inference.with_resource_hints(**self._hints)
        return classified, (of_reading, of_inference) | "Measurements" >> beam.Flatten()


class _Inference(beam.PTransform):
    def __init__(self, handler: SavedModelHandler, results: ResultsByContentHandle, meter: MeterHandle) -> None:
        super().__init__()
        self._handler, self._results, self._meter = handler, results, meter

    def expand(self, decoded: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        return (
            decoded
            | "Run" >> RunInference(self._handler)
            | "Remember" >> RememberResults(self._results)
            | "Measure" >> MeasureBundles(self._meter)
        )
