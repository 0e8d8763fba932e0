"""The progress of a run on the terminal, from the files that its workers write."""

from __future__ import annotations

import collections
import contextlib
import json
import threading

from catalogue import storage
from catalogue.cli.progress import Progress
from catalogue.reasons import StorageError
from pipeline.metering.meter import PREFIX


class Watch:
    """Shows on the terminal how far a run is, from the files that its workers write.

    Args:
        folder: of the run's unfinished files.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._stopped = folder, threading.Event()
        self._interval = 10.0 if storage.is_remote(folder) else 0.5
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
            done = counts["classified"] + counts["reused"]
            if not classifying and done + counts["failed"]:
                if progress:
                    progress.close()
                classifying, progress = True, None
            now = done + failed if classifying else counts["listed"]
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
    """The sum of the workers' counts; files that cannot be read, or are being removed, are left out."""
    counts = collections.Counter[str]()
    with contextlib.suppress(StorageError):
        for file in (listed.location for listed in storage.list_files(folder)):
            if file.rpartition("/")[2].startswith(PREFIX) and file.endswith(".json"):
                with contextlib.suppress(StorageError, ValueError):
                    counts.update(json.loads(storage.read_text(file)))
    return counts
