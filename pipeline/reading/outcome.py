"""Outputs of a step that can fail for individual images: its results, and the images that skip later steps."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam

from catalogue.cli.masking import masked, masked_key
from catalogue.reasons import DataError
from pipeline.records import FinishedImage, ListedImage, Result

FINISHED = "finished"
"""Output tag of `FinishedImage`s."""


class Outcome(NamedTuple):
    """Results of a step, and the `FinishedImage`s that skip the steps after it."""

    results: beam.PCollection
    finished: beam.PCollection


def failed(
    listed: ListedImage, error: DataError, content_hash: str | None = None, version: str | None = None
) -> FinishedImage:
    """Return the `FinishedImage` of an image that cannot be classified, with credentials masked."""
    reason, message = error.reason, masked(error.message)
    result = Result(
        masked_key(listed.location),
        version,
        content_hash,
        reason=reason.code,
        transient=reason.transient,
        message=message,
    )
    return FinishedImage(listed, result)
