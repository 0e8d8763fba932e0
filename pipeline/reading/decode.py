"""Beam transform that decodes images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec, Limits
from catalogue.reasons import ImageError
from pipeline.metering.measurement import DECODING
from pipeline.metering.meter import MeterHandle
from pipeline.reading.outcome import FINISHED, Outcome, failed
from pipeline.records import DecodedImage, FetchedImage


class Decode(beam.PTransform):
    """Decodes images; those that give no picture are finished. Any other exception fails the run.

    Args:
        spec: the images that the network takes.
        limits: which images are too large.
        meter: of the run.
    """

    def __init__(self, spec: ImageSpec, limits: Limits, meter: MeterHandle) -> None:
        super().__init__()
        self._fn = _DecodeFn(spec, limits, meter)

    def expand(self, fetched: beam.PCollection) -> Outcome:
        """PCollection of `FetchedImage`s to PCollections of `DecodedImage`s and of `FinishedImage`s."""
        outputs = fetched | beam.ParDo(self._fn).with_outputs(FINISHED, main="results")
        return Outcome(outputs.results, outputs[FINISHED])


class _DecodeFn(beam.DoFn):
    def __init__(self, spec: ImageSpec, limits: Limits, meter: MeterHandle) -> None:
        self._spec, self._limits, self._handle = spec, limits, meter

    def setup(self) -> None:
        self._meter = self._handle.get()

    def process(self, fetched: FetchedImage) -> Iterator[Any]:
        try:
            with self._meter.timing(DECODING):
                decoded = decode(fetched, self._spec, self._limits)
        except ImageError as error:
            self._meter.count(failed=len(fetched.listed.rows))
            finished = failed(fetched.listed, error, fetched.content_hash, fetched.version)
            yield beam.pvalue.TaggedOutput(FINISHED, finished)
        else:
            yield decoded


def decode(fetched: FetchedImage, spec: ImageSpec, limits: Limits) -> DecodedImage:
    """Decodes the bytes of an image. Raises ImageError."""
    image = read_image(fetched.data, spec, limits)
    return DecodedImage(fetched.listed, fetched.content_hash, fetched.version, image)
