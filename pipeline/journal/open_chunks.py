"""Chunks that a worker process is writing, which are saved if the process has to exit."""

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
        folder: folder of the file.
        settings: settings of the run.

    Raises:
        StorageError: the chunk cannot be written; from every method except `save`.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        self._writer, self._path = ChunkWriter(folder, settings), ""
        self._images = self._predictions = self._dead_letters = 0
        self._deadline = time.monotonic() + MAX_SECONDS
        self._lock, self._is_closed = threading.Lock(), False
        with _lock:
            _open.add(self)

    def write(self, image: FinishedImage) -> None:
        """Add an image."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("this worker is shutting down")
            self._writer.write(image)
        self._images += 1
        if image.result.top:
            self._predictions += len(image.listed.rows)
        else:
            self._dead_letters += len(image.listed.rows)

    @property
    def rows(self) -> int:
        """Number of rows in the chunk."""
        return self._predictions + self._dead_letters

    def is_old(self) -> bool:
        """Return whether the chunk has been open for `MAX_SECONDS`."""
        return time.monotonic() >= self._deadline

    def close(self) -> Chunk:
        """Close the chunk, which makes its file complete and durable."""
        with self._lock:
            self._close()
        return Chunk(self._path, self._images, self._predictions, self._dead_letters)

    def save(self) -> None:
        """Close a chunk whose bundle will not finish, so that a later run reuses its results. Ignores StorageError."""
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
                _open.discard(self)  # only now, as `save_all` waits for chunks that are being closed


def save_all() -> None:
    """Save all open chunks of this process before it exits. Takes at most a few seconds."""
    thread = threading.Thread(target=_save_all, name="save chunks", daemon=True)
    thread.start()
    thread.join(_SECONDS_TO_SAVE)


def _save_all() -> None:
    with _lock:
        chunks = list(_open)
    for chunk in chunks:
        chunk.save()
