"""Per-process counters of a run: images, seconds and memory.

A process has one `Meter` per run. A bundle runs in one thread, and its steps add to the meter. At the end of the bundle
the totals are emitted as a `Measurement`, so that ``run.json`` has them on every runner and a failed and retried bundle
is not counted twice. While bundles run, the counts are also written to a small file in the run directory, from which
`Watch` reads the progress.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import os
import platform
import resource
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from catalogue import storage
from catalogue.reasons import StorageError
from pipeline.errors import StoppedEarlyError
from pipeline.metering.counts import PREFIX, in_part
from pipeline.metering.measurement import Measurement
from pipeline.records import EngineChoice, FinishedImage

NAMESPACE = "catalogue_classifier"
"""Namespace of the Beam metrics, which engines display."""
STOP_FILE = "stop"
"""File that tells the workers to stop; its content is the reason."""
REASON = "failed: "


class _Bundle(threading.local):
    """Totals of the current bundle of a thread."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.seconds = collections.defaultdict[str, float](float)
        self.batches = collections.Counter[int]()
        self.engines = collections.Counter[EngineChoice]()
        self.first: float | None = None


class Meter:
    """Counters of this process in one run, shared by its threads. They are also reported as Beam metrics.

    Args:
        folder: folder of the run's unfinished files.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._name = folder, f"{platform.node()}:{os.getpid()}"
        self._file = f"{folder}/{PREFIX}{uuid.uuid4().hex}.json"
        self._interval = 10.0 if storage.is_remote(folder) else 0.5
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._counts = collections.Counter[str]()
        self._listing: dict[str, dict[str, int]] = {}
        self._written: dict[str, int] = {}
        self._active, self._writes = 0, False
        self._stop_file, self._stopped = f"{folder}/{STOP_FILE}", ""
        self._bundle = _Bundle()

    @contextlib.contextmanager
    def timing(self, step: str) -> Iterator[None]:
        """Add the duration of the context to a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add_seconds(step, time.perf_counter() - start)

    def add_seconds(self, step: str, seconds: float) -> None:
        """Add seconds of this thread to a step."""
        self._bundle.seconds[step] += seconds
        _distribution(f"{step}_microseconds").update(round(seconds * 1e6))

    def add_batch(self, size: int, engine: EngineChoice) -> None:
        """Record a classified batch."""
        self._bundle.batches[size] += 1
        _distribution("batch_size").update(size)
        self._bundle.engines[engine] += size
        self._bundle.first = self._bundle.first or time.time()

    def add_bytes(self, size: int) -> None:
        """Record the size of an image in bytes."""
        _distribution("image_bytes").update(size)

    def count(self, **counts: int) -> None:
        """Add to the counts that `Watch` shows: ``classified``, ``reused``, ``failed``."""
        with self._lock:
            self._counts.update(counts)
        for name, number in counts.items():
            _counter(name).inc(number)

    def count_listed(self, part: str, rows: int, wrong: int) -> None:
        """Record how many rows of a part of the inputs are listed so far, and how many of them name no image."""
        named = {"listed": rows, "wrong": wrong}
        with self._lock:
            before = self._listing.get(part, {})
            more = {name: count - before.get(name, 0) for name, count in named.items()}
            self._listing[part] = named
            self._counts.update({in_part(name, part): count for name, count in more.items()})
        for name, number in more.items():
            _counter(name).inc(number)

    def begin_listing(self, part: str) -> None:
        """Reset the counts of an earlier attempt to list a part."""
        with self._lock:
            for name in self._listing.pop(part, ()):
                del self._counts[in_part(name, part)]

    def count_finished(self, image: FinishedImage) -> None:
        """Count the rows of an image that is finished without inference; failures are also counted per reason."""
        rows, result = len(image.listed.rows), image.result
        if result.reason:
            self.count(failed=rows, **{f"{REASON}{result.reason}": rows})
        else:
            self.count(reused=rows)

    def check(self) -> None:
        """Raise StoppedEarlyError if the run is to stop, see `Watch`."""
        if self._stopped:
            raise StoppedEarlyError(self._stopped)

    def begin(self) -> None:
        """Start a bundle: the counts are written periodically from now on."""
        with self._lock:
            self._active += 1
            starts, self._writes = not self._writes, True
        if starts:
            threading.Thread(target=self._keep_writing, name="progress", daemon=True).start()

    def write(self) -> None:
        """Write the current counts immediately."""
        with self._writing:
            self._write_counts()

    def end(self) -> None:
        """End a bundle, successful or not. No counts are written after the last bundle has ended."""
        with self._lock:
            self._active -= 1
        with self._writing:  # after the last bundle the run may be committed and its files removed
            pass

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Call `begin` on entry and `end` on exit."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def take(self) -> Measurement:
        """Return and reset the totals of this thread."""
        own = self._bundle
        taken = Measurement(
            dict(own.seconds),
            dict(own.batches),
            dict(own.engines),
            peak_bytes(),
            frozenset([self._name]),
            own.first,
        )
        own.forget()
        return taken

    def forget(self) -> None:
        """Reset the totals of this thread, as a previous bundle may have failed."""
        self._bundle.forget()

    def _keep_writing(self) -> None:
        while True:
            time.sleep(self._interval)
            with self._writing:
                with self._lock:
                    if not self._active:
                        self._writes = False
                        return
                self._write_counts()
            with contextlib.suppress(StorageError, ValueError):
                self._stopped = storage.read_text(self._stop_file)

    def _write_counts(self) -> None:
        with self._lock:
            counts = dict(self._counts)
        if counts != self._written:
            with contextlib.suppress(StorageError, OSError):  # missing progress must not fail the run
                self._write(counts)
                self._written = counts

    def _write(self, counts: dict[str, int]) -> None:
        if storage.is_remote(self._folder):
            storage.write_text(self._file, json.dumps(counts))
            return
        new = f"{self._file}.new"  # does not create the folder, which is removed when the run ends
        with open(new, "w", encoding="utf-8") as file:
            json.dump(counts, file)
        os.replace(new, self._file)


class MeterHandle:
    """Picklable handle to the meter of a worker process, for the steps of the graph.

    Args:
        folder: folder of the run's unfinished files.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._shared = folder, Shared()

    def get(self) -> Meter:
        """Return the meter of this process, which its threads share."""
        return self._shared.acquire(functools.partial(Meter, self._folder))


@functools.cache
def _counter(name: str) -> Any:
    return Metrics.counter(NAMESPACE, name.replace(": ", "_"))


@functools.cache
def _distribution(name: str) -> Any:
    return Metrics.distribution(NAMESPACE, name)


def peak_bytes() -> int:
    """Return the peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
