"""Reuse of results of earlier attempts and runs that are still valid.

A result is valid for an image that still has the same version in its storage, or whose bytes have the same hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from catalogue import storage
from catalogue.reasons import Reason
from pipeline.journal.chunk_files import Settings
from pipeline.metering.meter import MeterHandle
from pipeline.reading.outcome import FINISHED, Outcome
from pipeline.records import UNREAD, FinishedImage, ListedImage, Result, Top

_ABOUT_BYTES = (Reason.TOO_MANY_BYTES.code, Reason.TOO_MANY_PIXELS.code, Reason.TOO_SMALL.code)


def usable(results: Iterable[Result], then: Settings, now: Settings) -> Iterator[Result]:
    """Yield the results that are also valid under other settings, if their images are unchanged.

    Transient failures are yielded too, to be counted as retried.

    Args:
        results: results of an earlier run.
        then: settings of that run.
        now: settings of this run.
    """
    is_same_policy = then.policy == now.policy
    are_limits_wider = (
        then.limits.max_bytes <= now.limits.max_bytes
        and then.limits.max_pixels <= now.limits.max_pixels
        and then.limits.min_side >= now.limits.min_side
    )
    are_predictions_valid = then.model_id == now.model_id and is_same_policy and are_limits_wider
    are_failures_valid = is_same_policy and then.reads_heic == now.reads_heic
    for result in results:
        if result.top:
            is_long_enough = then.top_k >= now.top_k or len(result.top) < then.top_k  # shorter results list all classes
            if are_predictions_valid and is_long_enough and _are_scores(result.top):
                yield Result(result.location, result.version, result.content_hash, result.top[: now.top_k])
        elif result.transient or (
            result.content_hash is not None
            and are_failures_valid
            and (then.limits == now.limits or (are_limits_wider and result.reason not in _ABOUT_BYTES))
        ):
            yield result


def _are_scores(top: Top) -> bool:
    """Return whether all labels have probabilities: a journal may be damaged or untrusted."""
    return all(isinstance(label, str) and isinstance(score, float) and 0 <= score <= 1 for label, score in top)


class Reuse(beam.PTransform):
    """Beam transform that finishes images without reading them, if a known result has their version.

    The version comes from a listing or, for local files, from ``stat``.

    Args:
        meter: handle to the meter of the run.
    """

    def __init__(self, meter: MeterHandle) -> None:
        super().__init__()
        self._fn = _ReuseFn(meter)

    def expand(self, listed: beam.PCollection) -> Outcome:
        """Split `ListedImage`s into PCollections of images that must be read, and of `FinishedImage`s."""
        outputs = listed | beam.ParDo(self._fn).with_outputs(FINISHED, main="results")
        return Outcome(outputs.results, outputs[FINISHED])


class _ReuseFn(beam.DoFn):
    def __init__(self, meter: MeterHandle) -> None:
        self._handle = meter

    def setup(self) -> None:
        self._meter = self._handle.get()

    def process(self, image: ListedImage) -> Iterator[Any]:
        found = reused_unread(image)
        if found:
            self._meter.count_finished(found)
            yield beam.pvalue.TaggedOutput(FINISHED, found)
        else:
            yield image


def reused_unread(image: ListedImage) -> FinishedImage | None:
    """Return the image with a result that is valid without reading it; None if it must be read."""
    if not any(result.version for result in permanent(image)):
        return None
    version = image.version
    if version is None and not storage.is_remote(image.location):
        status = storage.stat(image.location)
        version = status.version if status else None
    return with_version(image, version, UNREAD)


def with_version(image: ListedImage, version: str | None, source: str) -> FinishedImage | None:
    """Return the image with its known result for this version; None if no result has this version."""
    if version is not None:
        for result in permanent(image):
            if result.version == version:
                return FinishedImage(image, result, source)
    return None


def with_content(image: ListedImage, content: storage.Content, source: str) -> FinishedImage | None:
    """Return the image with its known result for the same bytes; None if no result has these bytes."""
    for result in permanent(image):
        if result.content_hash == content.content_hash:
            return FinishedImage(image, result.with_version(content.version), source)
    return None


def version_to_ask_for(image: ListedImage) -> str | None:
    """Return the version for a conditional read, which skips an image that still has it; None for a full read."""
    if image.version is not None:  # already compared
        return None
    return next((result.version for result in permanent(image) if result.version is not None), None)


def permanent(image: ListedImage) -> Iterator[Result]:
    """Yield the known results that stay valid as long as the image does not change."""
    return (result for result in image.known if not result.transient)
