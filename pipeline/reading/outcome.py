"""The two outputs of a step that can fail for single images: results, and dead letters."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam

from catalogue.cli.masking import masked
from catalogue.reasons import DataError
from pipeline.records import DeadLetter, ListedImage

DEAD_LETTERS = "dead_letters"
"""The tag of dead letters."""


class Outcome(NamedTuple):
    """The results of a step, and the dead letters of the images that failed in it."""

    results: beam.PCollection
    dead_letters: beam.PCollection


def dead_letters(image: ListedImage, error: DataError) -> list[DeadLetter]:
    """One dead letter for each line of the manifest that names the image."""
    reason, message = error.reason, masked(error.message)
    return [DeadLetter(uri, reason.code, reason.transient, message, fields) for uri, fields in image.rows]
