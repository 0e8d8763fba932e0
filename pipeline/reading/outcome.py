"""The two outputs of a step that can fail for single images: results, and images that are finished without it."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam

from catalogue.cli.masking import masked, masked_key
from catalogue.reasons import DataError
from pipeline.records import FinishedImage, ListedImage, Result

FINISHED = "finished"
"""The tag of `FinishedImage`s."""


class Outcome(NamedTuple):
    """The results of a step, and the `FinishedImage`s that need none of the steps after it."""

    results: beam.PCollection
    finished: beam.PCollection


def failed(
    listed: ListedImage, error: DataError, content_hash: str | None = None, version: str | None = None
) -> FinishedImage:
    """An image that cannot be classified."""
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
