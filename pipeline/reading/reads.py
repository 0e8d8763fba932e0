"""Concurrent reads of a bundle, in a thread pool shared by the whole process.

Each bundle keeps a number of reads in flight and continues with whichever read finishes first. Images that are being
read, or were read but not yet consumed, count against the memory budget of the process. A read that exceeds the timeout
is abandoned, even if its thread hangs.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
import queue
import threading
from collections.abc import Sequence

from catalogue import storage
from catalogue.cli.masking import masked
from catalogue.reasons import Reason, StorageError
from catalogue.storage.deadline import Deadline
from pipeline.config import ReadConfig
from pipeline.journal.reuse import version_to_ask_for, with_content, with_version
from pipeline.machine import cores, memory
from pipeline.reading.budget import Budget
from pipeline.reading.outcome import failed
from pipeline.reading.threads import Threads
from pipeline.records import CONDITIONAL, CONTENT, FetchedImage, FinishedImage, ListedImage

READS = 64
MOST_STUCK = 32
_GROUP = 16  # reads started together: threads that wake up one by one slow down decoding by a tenth
_BLOCK_BYTES = 2**20
_LEAST_BYTES, _MOST_BYTES, _SHARE_OF_MEMORY = 64 * 2**20, 512 * 2**20, 1 / 8


def prepare() -> None:
    """Start the read threads of this process. Not thread-safe."""
    _budget(), _threads()


class Reads:
    """The reads of one bundle that are in flight.

    Args:
        config: read settings.

    Attributes:
        under_way: number of images that were passed to `begin` but not yet returned by `next`.
    """

    def __init__(self, config: ReadConfig) -> None:
        self._shared = _Shared(config)
        self._group: list[ListedImage] = []
        self.under_way = 0

    def begin(self, image: ListedImage) -> None:
        """Queue an image to be read in another thread, once its group is complete."""
        self.under_way += 1
        self._group.append(image)
        if len(self._group) >= _GROUP:
            self.begin_all()

    def begin_all(self) -> None:
        """Start all queued reads. Local files are fast, so one thread reads all local files of a group."""
        local = []
        for image in self._group:
            if storage.is_remote(image.location):
                _Reader([image], self._shared).start()
            else:
                local.append(image)
        if local:
            _Reader(local, self._shared).start()
        self._group = []

    def next(self) -> list[FetchedImage | FinishedImage]:
        """Wait for the next reads to end, and return their images. Raises errors that are not specific to an image."""
        block = self._shared.done.get()
        self.under_way -= len(block.results)
        _budget().give(block.size)
        if block.error:
            raise block.error
        return block.results

    def abandon(self) -> None:
        """Release the budget of unconsumed images, now and as reads in flight finish."""
        self._shared.abandon()


@dataclasses.dataclass
class _Block:
    """Images that were read or finished, and the bytes of the budget that they hold."""

    results: list[FetchedImage | FinishedImage] = dataclasses.field(default_factory=list)
    size: int = 0
    error: BaseException | None = None

    def add(self, result: FetchedImage | FinishedImage) -> int:
        """Add an image. Returns its size in bytes."""
        size = len(result.data) if isinstance(result, FetchedImage) else 0
        self.results.append(result)
        self.size += size
        return size


@dataclasses.dataclass
class _Shared:
    """State shared by the readers of a bundle."""

    config: ReadConfig
    done: queue.SimpleQueue[_Block] = dataclasses.field(default_factory=queue.SimpleQueue)
    is_abandoned: bool = False

    def pass_on(self, block: _Block) -> None:
        """Pass a block to the bundle."""
        self.done.put(block)
        if self.is_abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Release the budget of unconsumed blocks."""
        self.is_abandoned = True
        with contextlib.suppress(queue.Empty):
            while True:
                _budget().give(self.done.get_nowait().size)


class _Reader:
    """Reads images sequentially, in a thread of the pool.

    If a read hangs, it is abandoned together with its thread: other threads read the remaining images.
    """

    def __init__(self, images: Sequence[ListedImage], shared: _Shared) -> None:
        self._images, self._shared = collections.deque(images), shared
        self._lock = threading.Lock()
        self._block, self._held = _Block(), 0
        self._current: ListedImage | None = None
        self._is_given_up = False

    def start(self) -> None:
        """Submit the reads to the thread pool."""
        _threads().submit(self._run)

    def _run(self) -> bool:
        try:
            return self._read_all()
        except BaseException as error:  # otherwise the bundle would wait forever
            self._shared.pass_on(_Block(error=error))
            return True

    def _read_all(self) -> bool:
        """Read the images. Returns False if this thread has been abandoned."""
        while self._images and not self._block.error and not self._shared.is_abandoned:
            if self._block.size >= _BLOCK_BYTES:
                self._pass_on()
            self._read(self._images.popleft())
            if self._is_given_up:
                _threads().came_back()
                return False
        self._pass_on()
        return True

    def _read(self, image: ListedImage) -> None:
        result: FetchedImage | FinishedImage | None = None
        fault: BaseException | None = None
        self._current = image
        with Deadline(self._shared.config.timeout, when_stuck=functools.partial(self._give_up, image)) as deadline:
            try:
                result = self._result(image, deadline)
            except StorageError as failure:
                result = failed(image, failure)
            except BaseException as error:  # raised again in the thread of the bundle
                fault = error
        with self._lock:
            if self._is_given_up:
                return
            self._current, self._block.error = None, fault
            size = self._block.add(result) if result else 0
            _budget().give(self._held - size)  # the announced size may have been wrong
            self._held = 0

    def _result(self, image: ListedImage, deadline: Deadline) -> FetchedImage | FinishedImage:
        def admit(size: int) -> None:
            with deadline.paused():
                self._admit(size)

        # With this many hung reads, the disk is assumed dead until some of them return.
        if _threads().stuck >= MOST_STUCK and not storage.is_remote(image.location):
            raise StorageError(Reason.READ_FAILED, f"not read: {_threads().stuck} file reads are hanging")
        config, known = self._shared.config, version_to_ask_for(image)
        content = storage.read(image.location, config.limits.max_bytes, admit=admit, unless=known, access=config.access)
        if content is None:
            finished = with_version(image, known, CONDITIONAL)
            assert finished is not None  # without a known version the image is always read
            return finished
        return with_content(image, content, CONTENT) or FetchedImage(
            image, content.data, content.content_hash, content.version
        )

    def _admit(self, size: int) -> None:
        """Reserve bytes of the budget, waiting until they are available."""
        self._hold(0)
        if not size:
            return
        if not _budget().try_take(size):
            self._pass_on()  # while waiting, hold nothing that others wait for
            _budget().take(size)
        self._hold(size)

    def _hold(self, size: int) -> None:
        with self._lock:
            if self._is_given_up:  # the result would be discarded
                _budget().give(size)
                raise StorageError(Reason.READ_FAILED, "the read was abandoned")
            _budget().give(self._held)
            self._held = size

    def _give_up(self, image: ListedImage) -> None:
        """Abandon a hung read and its thread: report the image as failed, and read the others in other threads."""
        with self._lock:
            if self._current is not image:  # the read has just finished
                return
            self._is_given_up = True
            _budget().give(self._held)
            block, rest = self._block, list(self._images)
        message = f"not read within {self._shared.config.timeout:g} s"
        logging.getLogger(__name__).warning("%s: %s: read abandoned", masked(image.location), message)
        block.add(failed(image, StorageError(Reason.READ_FAILED, message)))
        self._shared.pass_on(block)
        for other in rest:  # one reader each: they may be on the same dead disk
            _Reader([other], self._shared).start()
        _threads().replace_one()

    def _pass_on(self) -> None:
        """Pass the images read so far to the bundle."""
        with self._lock:
            if self._is_given_up:
                return
            block, self._block = self._block, _Block()
        self._shared.pass_on(block)


@functools.cache
def _threads() -> Threads:
    return Threads(READS, "read")


@functools.cache
def _budget() -> Budget:
    share = int(memory() * _SHARE_OF_MEMORY / cores())
    return Budget(min(max(share, _LEAST_BYTES), _MOST_BYTES))
