"""What a worker process does in a run: how many images, in what time, with how much memory.

A process has one `Meter` for each run. The steps of a bundle, which is the work of one thread, add to it; when the
bundle ends, what has come together leaves the pipeline as a `Measurement`, so that ``run.json`` has it on every runner,
and nothing of a bundle that failed and is tried again. While bundles run, the counts are also written to a small file
in the run directory: who can read that can see how far the run is, see `Watch`.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import platform
import resource
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator

import apache_beam as beam

from catalogue.cli.console import Progress
from catalogue.storage.files import is_remote
from pipeline import storage
from pipeline.records import EngineChoice

READING, DECODING, INFERENCE, ALL = "reading", "decoding", "inference", "all"
_PREFIX = "progress-"
_making = threading.Lock()
_meters: dict[str, Meter] = {}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one or more processes did.

    Attributes:
        seconds: step -> seconds that threads spent in it; `ALL` for those of whole bundles.
        batches: size -> how many of that size were classified.
        engines: engine -> how many images it classified.
        peak_bytes: of resident memory, of the process that had the most.
        processes: their names.
        first: seconds since 1970 when the first image was classified; None if none was.
    """

    seconds: dict[str, float]
    batches: dict[int, int]
    engines: dict[EngineChoice, int]
    peak_bytes: int
    processes: frozenset[str]
    first: float | None


NOTHING = Measurement({}, {}, {}, 0, frozenset(), None)


def total(measurements: Iterable[Measurement]) -> Measurement:
    """All of several measurements together."""
    seconds, batches = collections.defaultdict[str, float](float), collections.Counter[int]()
    engines, processes = collections.Counter[EngineChoice](), set[str]()
    peak, firsts = 0, []
    for one in measurements:
        for step, own in one.seconds.items():
            seconds[step] += own
        batches.update(one.batches)
        engines.update(one.engines)
        processes |= one.processes
        peak = max(peak, one.peak_bytes)
        firsts += [] if one.first is None else [one.first]
    return Measurement(
        dict(seconds), dict(batches), dict(engines), peak, frozenset(processes), min(firsts, default=None)
    )


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
    """What this process does in one run; shared by its threads.

    Args:
        folder: of the run's unfinished files.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._name = folder, f"{platform.node()}:{os.getpid()}"
        self._file = f"{folder}/{_PREFIX}{uuid.uuid4().hex}.json"
        self._interval = 10.0 if is_remote(folder) else 0.5
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._counts = collections.Counter[str]()
        self._written: dict[str, int] = {}
        self._active, self._writes = 0, False
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

    def add_batch(self, size: int, engine: EngineChoice) -> None:
        """Notes that a batch was classified."""
        self._bundle.batches[size] += 1
        self._bundle.engines[engine] += size
        self._bundle.first = self._bundle.first or time.time()

    def count(self, **counts: int) -> None:
        """Adds to what `Watch` shows: ``listed``, the ``wrong`` ones of these, ``classified``, ``failed``."""
        with self._lock:
            self._counts.update(counts)

    def begin(self) -> None:
        """A bundle begins: from now on what is counted is written down from time to time."""
        with self._lock:
            self._active += 1
            starts, self._writes = not self._writes, True
        if starts:
            threading.Thread(target=self._keep_writing, name="progress", daemon=True).start()

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
                    counts = dict(self._counts)
                if counts != self._written:
                    with contextlib.suppress(*storage.ERRORS):  # progress is not worth a run
                        self._write(counts)
                        self._written = counts

    def _write(self, counts: dict[str, int]) -> None:
        if is_remote(self._folder):
            storage.write_text(self._file, json.dumps(counts))
            return
        new = f"{self._file}.new"  # the folder is not made anew: it is gone when the run is over
        with open(new, "w", encoding="utf-8") as file:
            json.dump(counts, file)
        os.replace(new, self._file)


def meter(folder: str) -> Meter:
    """The meter of this process for a run."""
    with _making:
        if folder not in _meters:
            _meters[folder] = Meter(folder)
        return _meters[folder]


def peak_bytes() -> int:
    """The most resident memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Total(beam.CombineFn):
    """Measurements to one `Measurement`."""

    def create_accumulator(self) -> Measurement:
        """Nothing."""
        return NOTHING

    def add_input(self, accumulator: Measurement, measurement: Measurement) -> Measurement:
        """One more."""
        return total([accumulator, measurement])

    def merge_accumulators(self, accumulators: Iterable[Measurement]) -> Measurement:
        """All parts."""
        return total(accumulators)

    def extract_output(self, accumulator: Measurement) -> Measurement:
        """The total."""
        return accumulator


class Watch:
    """Shows on the terminal how far a run is, from the files that its workers write.

    Args:
        folder: of the run's unfinished files.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._stopped = folder, threading.Event()
        self._interval = 10.0 if is_remote(folder) else 0.5
        self._thread = threading.Thread(target=self._show, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join(1.0)  # it may be waiting for a storage that does not answer

    def _show(self) -> None:
        """Two lines: while lists are read, and while images are classified.

        Each begins with the first look that finds something: how long that much took nobody knows.
        """
        progress: Progress | None = None
        classifying, shown = False, 0
        while not self._stopped.wait(self._interval):
            counts = counted(self._folder)
            if self._stopped.is_set():
                break
            failed = counts["wrong"] + counts["failed"]
            if not classifying and counts["classified"] + counts["failed"]:
                if progress:
                    progress.close()
                classifying, progress = True, None
            now = counts["classified"] + failed if classifying else counts["listed"]
            if not progress:
                if not now:
                    continue
                progress, shown = Progress("classifying" if classifying else "listing", None, "images", done=now), now
            if classifying:
                progress.expect(counts["listed"])
            if now > shown:
                progress.advance(now - shown, f"{failed:,} failed" if failed else "")
                shown = now
        if progress:
            progress.close()


def counted(folder: str) -> collections.Counter[str]:
    """What the workers of a run say they have done; files that are being written or removed are left out."""
    counts = collections.Counter[str]()
    with contextlib.suppress(*storage.ERRORS):
        for file in storage.files(folder):
            if file.rpartition("/")[2].startswith(_PREFIX) and file.endswith(".json"):
                with contextlib.suppress(*storage.ERRORS):
                    counts.update(json.loads(storage.read_text(file)))
    return counts
