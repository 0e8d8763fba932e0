"""Beam transform that decodes images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec, Limits
from catalogue.reasons import ImageError
from pipeline.metering.measurement import DECODING
from pipeline.metering.meter import MeterHandle
from pipeline.reading.identical import Pending, ResultsByContentHandle
from pipeline.reading.outcome import FINISHED, Outcome, failed
from pipeline.records import DecodedImage, FetchedImage, FinishedImage


class Decode(beam.PTransform):
    """Beam transform that decodes images.

    Images that cannot be decoded, or whose bytes already have a result, become `FinishedImage`s. Any exception other
    than `ImageError` fails the run.

    Args:
        spec: image format that the network expects.
        limits: size limits of images.
        meter: handle to the meter of the run.
        results: handle to the results by content.
    """

    def __init__(self, spec: ImageSpec, limits: Limits, meter: MeterHandle, results: ResultsByContentHandle) -> None:
        super().__init__()
        self._fn = _DecodeFn(spec, limits, meter, results)

    def expand(self, fetched: beam.PCollection) -> Outcome:
        """Turn `FetchedImage`s into PCollections of `DecodedImage`s and of `FinishedImage`s."""
        outputs = fetched | beam.ParDo(self._fn).with_outputs(FINISHED, main="results")
        return Outcome(outputs.results, outputs[FINISHED])


class _DecodeFn(beam.DoFn):
    def __init__(self, spec: ImageSpec, limits: Limits, meter: MeterHandle, results: ResultsByContentHandle) -> None:
        self._spec, self._limits, self._meter_handle, self._results_handle = spec, limits, meter, results

    def setup(self) -> None:
        self._meter, self._results = self._meter_handle.get(), self._results_handle.get()

    def start_bundle(self) -> None:
        self._pending = Pending(self._results)

    def process(self, fetched: FetchedImage) -> Iterator[Any]:
        yield from map(self._reused, self._pending.answered())
        found = self._results.finish(fetched)
        if found:
            yield self._reused(found)
        elif not self._pending.wait(fetched):
            yield from self._decode(fetched)

    def finish_bundle(self) -> Iterator[Any]:
        windowed = GlobalWindows.windowed_value_at_end_of_window
        for image in self._pending.answered():
            yield beam.pvalue.TaggedOutput(FINISHED, windowed(self._reused(image).value))
        yield from map(windowed, self._pending.rest())

    def _decode(self, fetched: FetchedImage) -> Iterator[Any]:
        try:
            with self._meter.timing(DECODING):
                decoded = decode(fetched, self._spec, self._limits)
        except ImageError as error:
            # Running out of memory is not the fault of the image: without a hash, the result is not reused.
            content_hash = None if isinstance(error.__cause__, MemoryError) else fetched.content_hash
            finished = failed(fetched.listed, error, content_hash, fetched.version)
            self._meter.count_finished(finished)
            self._results.add(finished.result)
            yield beam.pvalue.TaggedOutput(FINISHED, finished)
        else:
            yield from self._pending.add(decoded)
            yield decoded

    def _reused(self, image: FinishedImage) -> beam.pvalue.TaggedOutput:
        self._meter.count_finished(image)
        return beam.pvalue.TaggedOutput(FINISHED, image)


def decode(fetched: FetchedImage, spec: ImageSpec, limits: Limits) -> DecodedImage:
    """Decode the bytes of an image. Raises ImageError."""
    image = read_image(fetched.data, spec, limits)
    return DecodedImage(fetched.listed, fetched.content_hash, fetched.version, image)
