"""Progress display and early stop of a run, both based on the files that the workers write."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable

from catalogue import storage
from catalogue.cli.progress import Progress
from catalogue.reasons import Reason, StorageError
from pipeline.metering.counts import counted
from pipeline.metering.meter import REASON, STOP_FILE

LEAST_IMAGES = 1000
"""Minimum number of images processed before a run is stopped."""


class Watch:
    """Context manager that shows the progress of a run and stops it once it can no longer succeed.

    Args:
        folder: folder of the run's unfinished files.
        max_failure_rate: largest share of failures in a successful run; with 1, the run is never stopped.
        counters: function that returns the engine's counts by name; the files are used if it is None or returns None.
    """

    def __init__(
        self, folder: str, max_failure_rate: float = 1.0, counters: Callable[[], dict[str, int] | None] | None = None
    ) -> None:
        self._folder, self._max_failure_rate, self._stopped = folder, max_failure_rate, threading.Event()
        self._counters = counters
        self._interval = 10.0 if storage.is_remote(folder) else 0.5
        self._thread = threading.Thread(target=self._show, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join(1.0)  # the thread may be waiting for a storage that does not answer

    def _show(self) -> None:
        """Show two progress lines: one while lists are read, one while images are classified.

        Each line starts at the first non-zero count, because the time that those images took is unknown.
        """
        progress: Progress | None = None
        classifying, stops, shown = False, False, 0
        while not self._stopped.wait(self._interval):
            counts = self._counts()
            if self._stopped.is_set():
                break
            failed = counts["wrong"] + counts["failed"]
            done = counts["classified"] + counts["reused"]
            if not classifying and done + counts["failed"]:
                if progress:
                    progress.close()
                classifying, progress = True, None
            listed = counts["listed"]
            now = min(done + failed, listed) if classifying else listed  # an engine may repeat a lost worker's share
            if not progress:
                if not now:
                    continue
                progress, shown = Progress("classifying" if classifying else "listing", None, "images", done=now), now
            if classifying:
                progress.expect(listed)
                if not stops and self._is_lost(counts):
                    stops = self._stop()
            if now > shown:
                progress.advance(now - shown, f"{failed:,} failed" if failed else "")
                shown = now
        if progress:
            progress.close()

    def _counts(self) -> collections.Counter[str]:
        counters = self._counters() if self._counters else None
        return counted(self._folder) if counters is None else collections.Counter(counters)

    def _is_lost(self, counts: collections.Counter[str]) -> bool:
        """Return whether so many images have failed that the run cannot succeed.

        The number of listed rows is final, because listing ends before reading begins.
        """
        failed = counts["wrong"] + counts["failed"]
        done = failed + counts["classified"] + counts["reused"]
        is_known = LEAST_IMAGES <= done <= counts["listed"]  # otherwise an engine is repeating a part of the job
        return is_known and failed > self._max_failure_rate * counts["listed"]

    def _stop(self) -> bool:
        """Tell the workers to stop if a strict count confirms the failure. Returns whether they have been told."""
        with contextlib.suppress(StorageError, ValueError):
            counts = counted(self._folder, strictly=True)
            if self._is_lost(counts):
                storage.write_text(f"{self._folder}/{STOP_FILE}", self._explained(counts))
                return True
        return False

    def _explained(self, counts: collections.Counter[str]) -> str:
        failed, reasons = counts["wrong"] + counts["failed"], collections.Counter[str]()
        reasons[Reason.BAD_MANIFEST_ROW.code] = counts["wrong"]
        for name, count in counts.items():
            if name.startswith(REASON):
                reasons[name.removeprefix(REASON)] += count
        shown = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(3) if count)
        return (
            f"stopped early: {failed:,} of {counts['listed']:,} images have failed already ({shown}), more than "
            f"--max-failure-rate {self._max_failure_rate:g} allows"
        )
