"""Decode images; a failure becomes a dead letter for each line of the manifest that names the image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from catalogue.images.reader import ImageError, ImageSpec, Limits, read_image
from pipeline.metering.meter import DECODING, meter
from pipeline.records import DeadLetter, Entry, EntryData, EntryImage

DEAD_LETTERS = "dead_letters"


class Outcome(NamedTuple):
    """What a step made of its input: its results, and the images that failed in it."""

    results: beam.PCollection
    dead_letters: beam.PCollection


class Decode(beam.PTransform):
    """Decodes images; those that give no picture become dead letters. Any other exception fails the run.

    Args:
        spec: the images that the network takes.
        limits: what is refused.
        folder: of the run's unfinished files.
    """

    def __init__(self, spec: ImageSpec, limits: Limits, folder: str) -> None:
        super().__init__()
        self._fn = _DecodeFn(spec, limits, folder)

    def expand(self, data: beam.PCollection) -> Outcome:
        """PCollection of `EntryData` to PCollections of `EntryImage`s and of `DeadLetter`s."""
        outputs = data | beam.ParDo(self._fn).with_outputs(DEAD_LETTERS, main="results")
        return Outcome(outputs.results, outputs[DEAD_LETTERS])


class _DecodeFn(beam.DoFn):
    def __init__(self, spec: ImageSpec, limits: Limits, folder: str) -> None:
        self._spec, self._limits, self._folder = spec, limits, folder

    def process(self, data: EntryData) -> Iterator[Any]:
        try:
            with meter(self._folder).timing(DECODING):
                image = decode(data, self._spec, self._limits)
        except ImageError as error:
            meter(self._folder).count(failed=len(data.entry.rows))
            for letter in dead_letters(data.entry, error):
                yield beam.pvalue.TaggedOutput(DEAD_LETTERS, letter)
        else:
            yield image


def dead_letters(entry: Entry, error: ImageError) -> list[DeadLetter]:
    """One dead letter for each line of the manifest that names the image."""
    reason = error.reason
    return [DeadLetter(uri, reason.code, reason.transient, error.message, fields) for uri, fields in entry.rows]


def decode(data: EntryData, spec: ImageSpec, limits: Limits) -> EntryImage:
    """Decodes the bytes of an image. Raises ImageError."""
    return EntryImage(data.entry, hashlib.sha256(data.data).hexdigest(), read_image(data.data, spec, limits))
