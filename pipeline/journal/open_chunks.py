"""Chunks that a worker process is writing, and the way to keep what is in them when the process has to end."""

from __future__ import annotations

import contextlib
import threading
import time

from catalogue.reasons import StorageError
from pipeline.journal.chunk_files import ChunkWriter, Settings
from pipeline.records import Chunk, FinishedImage

MAX_SECONDS = 30.0
_SECONDS_TO_SAVE = 3.0
_open: set[OpenChunk] = set()
_lock = threading.Lock()


class OpenChunk:
    """A chunk that is being written by one bundle. Another thread may call `save` at any time.

    Args:
        folder: of its file.
        settings: of the run.

    Raises:
        StorageError: it cannot be written; from every method but `save`.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        self._writer, self._path = ChunkWriter(folder, settings), ""
        self._images = self._predictions = self._dead_letters = 0
        self._deadline = time.monotonic() + MAX_SECONDS
        self._lock, self._is_closed = threading.Lock(), False
        with _lock:
            _open.add(self)

    def write(self, image: FinishedImage) -> None:
        """Adds an image."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("this worker has been told to end")
            self._writer.write(image)
        self._images += 1
        if image.result.top:
            self._predictions += len(image.listed.rows)
        else:
            self._dead_letters += len(image.listed.rows)

    @property
    def rows(self) -> int:
        """How many rows are in it."""
        return self._predictions + self._dead_letters

    def is_old(self) -> bool:
        """Whether it has been open for 30 s."""
        return time.monotonic() >= self._deadline

    def close(self) -> Chunk:
        """Makes the file complete and durable."""
        with self._lock:
            self._close()
        return Chunk(self._path, self._images, self._predictions, self._dead_letters)

    def save(self) -> None:
        """Closes a chunk whose bundle will not: a later run reuses the results in it. Does nothing if that fails."""
        with self._lock, contextlib.suppress(StorageError):
            self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._path = self._writer.close()
        finally:
            with _lock:
                _open.discard(self)  # not before: `save_all` waits for those that are being closed


def save_all() -> None:
    """Saves every chunk of this process, which is about to end. Takes no longer than a few seconds."""
    thread = threading.Thread(target=_save_all, name="save chunks", daemon=True)
    thread.start()
    thread.join(_SECONDS_TO_SAVE)


def _save_all() -> None:
    with _lock:
        chunks = list(_open)
    for chunk in chunks:
        chunk.save()
