"""Results by content, so that a worker process rarely classifies identical bytes more than once."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.utils.shared import Shared

from catalogue.cli.masking import masked_key
from pipeline.journal.content_index import ContentIndex
from pipeline.records import CONTENT, IDENTICAL, DecodedImage, FetchedImage, FinishedImage, Result

_KEPT_RESULTS, _KEPT_LABELS = 20_000, 400_000
_MOST_PENDING, _MOST_WAITING = 64, 1_000


class ResultsByContent:
    """Results of a worker process by content: a cache of its own recent results, and the results of earlier runs.

    Args:
        earlier: index of the results of earlier runs.
    """

    def __init__(self, earlier: ContentIndex) -> None:
        self._earlier, self._lock, self._earlier_lock = earlier, threading.Lock(), threading.Lock()
        self._own = collections.OrderedDict[str, Result]()

    def add(self, result: Result) -> None:
        """Cache a result. A full cache evicts the least recently used result."""
        if result.content_hash is None:
            return
        with self._lock:
            self._own[result.content_hash] = result
            self._own.move_to_end(result.content_hash)
            if len(self._own) > min(_KEPT_RESULTS, _KEPT_LABELS // max(len(result.top), 1)):
                self._own.popitem(last=False)

    def find(self, content_hash: str) -> Result | None:
        """Return this process's cached result for identical bytes; None if none is cached."""
        with self._lock:
            found = self._own.get(content_hash)
            if found:
                self._own.move_to_end(content_hash)
        return found

    def finish(self, image: FetchedImage) -> FinishedImage | None:
        """Return the image with a result for its bytes from this process or an earlier run; None if none is known."""
        found, source = self.find(image.content_hash), IDENTICAL
        if found is None:
            with self._earlier_lock:  # the first lookup reads the index, which takes a while
                found, source = self._earlier.find(image.content_hash), CONTENT
        return finished(image, found, source) if found else None


class ResultsByContentHandle:
    """Picklable handle to the `ResultsByContent` of a worker process in one run.

    Args:
        earlier: index of the results of earlier runs.
    """

    def __init__(self, earlier: ContentIndex) -> None:
        self._earlier, self._shared = earlier, Shared()

    def get(self) -> ResultsByContent:
        """Return the `ResultsByContent` of this process, shared by all of its threads."""
        return self._shared.acquire(lambda: ResultsByContent(self._earlier))


class RememberResults(beam.PTransform):
    """Beam transform that passes `FinishedImage`s through and caches their results for identical images.

    Args:
        results: handle that is also given to `Decode`.
    """

    def __init__(self, results: ResultsByContentHandle) -> None:
        super().__init__()
        self._fn = _RememberFn(results)

    def expand(self, classified: beam.PCollection) -> beam.PCollection:
        """Return the `FinishedImage`s unchanged."""
        return classified | beam.ParDo(self._fn)


class _RememberFn(beam.DoFn):
    def __init__(self, results: ResultsByContentHandle) -> None:
        self._handle = results

    def setup(self) -> None:
        self._results = self._handle.get()

    def process(self, image: FinishedImage) -> Iterator[FinishedImage]:
        self._results.add(image.result)
        yield image


class Pending:
    """Images of one bundle that are being classified, and the identical images that wait for their results.

    Args:
        results: results by content, to which the results of the classified images are added.
    """

    def __init__(self, results: ResultsByContent) -> None:
        self._results = results
        self._decoded = dict[str, tuple[DecodedImage, list[FetchedImage]]]()

    def add(self, image: DecodedImage) -> Iterator[DecodedImage]:
        """Add an image that is about to be classified.

        If more than `_MOST_PENDING` images are being classified, the oldest one is no longer waited for: yields the
        images that waited for its result, each with its pixels, because their bytes are identical.
        """
        _, waiting = self._decoded.get(image.content_hash, (image, []))
        self._decoded[image.content_hash] = image, waiting
        # Inference may run in another process, whose results never arrive here.
        while len(self._decoded) > _MOST_PENDING:
            yield from self._given_up(next(iter(self._decoded)))

    def wait(self, image: FetchedImage) -> bool:
        """Let an image wait for the result of an identical image.

        Returns False if no identical image is being classified, or too many images are waiting already.
        """
        found = self._decoded.get(image.content_hash)
        if found is None or len(found[1]) >= _MOST_WAITING:
            return False
        found[1].append(dataclasses.replace(image, data=b""))
        return True

    def answered(self) -> Iterator[FinishedImage]:
        """Yield the waiting images whose results have arrived."""
        for content_hash in list(self._decoded):
            result = self._results.find(content_hash)
            if result:
                for image in self._decoded.pop(content_hash)[1]:
                    yield finished(image, result, IDENTICAL)

    def rest(self) -> Iterator[DecodedImage]:
        """Yield the images that are still waiting, with their pixels, to be classified individually."""
        for content_hash in list(self._decoded):
            yield from self._given_up(content_hash)

    def _given_up(self, content_hash: str) -> Iterator[DecodedImage]:
        first, waiting = self._decoded.pop(content_hash)
        for image in waiting:
            yield DecodedImage(image.listed, content_hash, image.version, first.image)


def finished(image: FetchedImage, found: Result, source: str) -> FinishedImage:
    """Return an image with the result of another image that has identical bytes."""
    result = found._replace(location=masked_key(image.listed.location), version=image.version)
    return FinishedImage(image.listed, result, source)
