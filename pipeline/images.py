"""Read and decode images; a failure becomes a dead letter for each line of the manifest that names the image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from pipeline.records import DeadLetter, Entry, EntryData, EntryImage
from pipeline.sources import read_bytes
from trainer.preprocessing import ImageError, ImageSpec, Limits, read_image

_DEAD_LETTERS = "dead_letters"


class Outcome(NamedTuple):
    """What a step made of its input: its results, and the images that failed in it."""

    results: beam.PCollection
    dead_letters: beam.PCollection


class OrDeadLetter(beam.PTransform):
    """Applies a function to each element; where it raises ImageError, the element's rows become dead letters.

    Any other exception is a fault of the program and fails the run.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    def expand(self, elements: beam.PCollection) -> Outcome:
        """PCollection of elements to PCollections of results and of `DeadLetter`s."""
        outputs = elements | beam.ParDo(_OrDeadLetterFn(self._function)).with_outputs(_DEAD_LETTERS, main="results")
        return Outcome(outputs.results, outputs[_DEAD_LETTERS])


class _OrDeadLetterFn(beam.DoFn):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def process(self, element: Any) -> Iterator[Any]:
        try:
            result = self._function(element)
        except ImageError as error:
            entry = element if isinstance(element, Entry) else element.entry
            for letter in dead_letters(entry, error):
                yield beam.pvalue.TaggedOutput(_DEAD_LETTERS, letter)
        else:
            yield result


def dead_letters(entry: Entry, error: ImageError) -> list[DeadLetter]:
    """One dead letter for each line of the manifest that names the image."""
    reason = error.reason
    return [DeadLetter(uri, reason.code, reason.transient, error.message, fields) for uri, fields in entry.rows]


def read(entry: Entry, *, limits: Limits) -> EntryData:
    """Reads the bytes of an image. Raises ImageError."""
    return EntryData(entry, read_bytes(entry.location, limits))


def decode(data: EntryData, *, spec: ImageSpec, limits: Limits) -> EntryImage:
    """Decodes the bytes of an image. Raises ImageError."""
    return EntryImage(data.entry, hashlib.sha256(data.data).hexdigest(), read_image(data.data, spec, limits))
