"""What a worker process does in a run: how many images, in what time, with how much memory.

A process has one `Meter` for each run. The steps of a bundle, which is the work of one thread, add to it; when the
bundle ends, what has come together leaves the pipeline as a `Measurement`, so that ``run.json`` has it on every runner,
and nothing of a bundle that failed and is tried again. While bundles run, the counts are also written to a small file
in the run directory: who can read that can see how far the run is, see `Watch`.
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
"""Of Beam's metrics, by which engines show what a job does."""
STOP_FILE = "stop"
"""Its content is the reason why workers are to stop."""
REASON = "failed: "


class _Bundle(threading.local):
    """What the bundle of a thread has done so far."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.seconds = collections.defaultdict[str, float](float)
        self.batches = collections.Counter[int]()
        self.engines = collections.Counter[EngineChoice]()
        self.first: float | None = None


class Meter:
    """What this process does in one run; shared by its threads. Engines show it, too, as metrics of Beam.

    Args:
        folder: of the run's unfinished files.
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
        """Adds the seconds that the context lasts to those of a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add_seconds(step, time.perf_counter() - start)

    def add_seconds(self, step: str, seconds: float) -> None:
        """Adds seconds of this thread to a step."""
        self._bundle.seconds[step] += seconds
        _distribution(f"{step}_microseconds").update(round(seconds * 1e6))

    def add_batch(self, size: int, engine: EngineChoice) -> None:
        """Notes that a batch was classified."""
        self._bundle.batches[size] += 1
        _distribution("batch_size").update(size)
        self._bundle.engines[engine] += size
        self._bundle.first = self._bundle.first or time.time()

    def add_bytes(self, size: int) -> None:
        """Notes that an image of so many bytes was read."""
        _distribution("image_bytes").update(size)

    def count(self, **counts: int) -> None:
        """Adds to the numbers that `Watch` shows: ``classified``, ``reused``, ``failed``."""
        with self._lock:
            self._counts.update(counts)
        for name, number in counts.items():
            _counter(name).inc(number)

    def count_listed(self, part: str, rows: int, wrong: int) -> None:
        """Notes how many rows of a part of the inputs have been listed so far, and how many of them name no image."""
        named = {"listed": rows, "wrong": wrong}
        with self._lock:
            before = self._listing.get(part, {})
            more = {name: count - before.get(name, 0) for name, count in named.items()}
            self._listing[part] = named
            self._counts.update({in_part(name, part): count for name, count in more.items()})
        for name, number in more.items():
            _counter(name).inc(number)

    def begin_listing(self, part: str) -> None:
        """Forgets how far an earlier attempt at a part has come."""
        with self._lock:
            for name in self._listing.pop(part, ()):
                del self._counts[in_part(name, part)]

    def count_finished(self, image: FinishedImage) -> None:
        """Counts the rows of an image that is finished without inference; those that failed by their reason, too."""
        rows, result = len(image.listed.rows), image.result
        if result.reason:
            self.count(failed=rows, **{f"{REASON}{result.reason}": rows})
        else:
            self.count(reused=rows)

    def check(self) -> None:
        """Raises StoppedEarlyError if the run is to be stopped, see `Watch`."""
        if self._stopped:
            raise StoppedEarlyError(self._stopped)

    def begin(self) -> None:
        """A bundle begins: from now on what is counted is written down from time to time."""
        with self._lock:
            self._active += 1
            starts, self._writes = not self._writes, True
        if starts:
            threading.Thread(target=self._keep_writing, name="progress", daemon=True).start()

    def write(self) -> None:
        """Writes down what has been counted so far, at once."""
        with self._writing:
            self._write_counts()

    def end(self) -> None:
        """A bundle has ended or was given up; nothing is written after the last one."""
        with self._lock:
            self._active -= 1
        with self._writing:  # a run may be committed, and its files removed, as soon as its last bundle has ended
            pass

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """`begin` and `end` in one."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def take(self) -> Measurement:
        """What came together in this thread since the last time."""
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
        """A bundle begins in this thread; the one before it may have failed."""
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
            with contextlib.suppress(StorageError, OSError):  # progress is not worth a run
                self._write(counts)
                self._written = counts

    def _write(self, counts: dict[str, int]) -> None:
        if storage.is_remote(self._folder):
            storage.write_text(self._file, json.dumps(counts))
            return
        new = f"{self._file}.new"  # the folder is not made anew: it is gone when the run is over
        with open(new, "w", encoding="utf-8") as file:
            json.dump(counts, file)
        os.replace(new, self._file)


class MeterHandle:
    """A handle to the meter of a worker process in one run. It travels with the steps of the graph.

    Args:
        folder: of the run's unfinished files.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._shared = folder, Shared()

    def get(self) -> Meter:
        """The meter of this process, the same for all of its threads."""
        return self._shared.acquire(functools.partial(Meter, self._folder))


@functools.cache
def _counter(name: str) -> Any:
    return Metrics.counter(NAMESPACE, name.replace(": ", "_"))


@functools.cache
def _distribution(name: str) -> Any:
    return Metrics.distribution(NAMESPACE, name)


def peak_bytes() -> int:
    """The most resident memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
