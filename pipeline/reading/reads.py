"""Reads of a bundle, many at a time, in threads of the process.

Each bundle keeps a number of reads under way and goes on with whichever is done first. Bytes that have been read and
not been taken yet count against one budget of the process. A read that does not end in time is given up, whatever it
waits for.
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
_GROUP = 16  # reads begun together: threads that wake now and then cost the one that decodes a tenth of its speed
_BLOCK_BYTES = 2**20
_LEAST_BYTES, _MOST_BYTES, _SHARE_OF_MEMORY = 64 * 2**20, 512 * 2**20, 1 / 8


def prepare() -> None:
    """Starts the threads of this process. Not for two threads at once."""
    _budget(), _threads()


class Reads:
    """The reads that one bundle has under way.

    Args:
        config: how images are read.

    Attributes:
        under_way: how many images were begun and have not been taken.
    """

    def __init__(self, config: ReadConfig) -> None:
        self._shared = _Shared(config)
        self._group: list[ListedImage] = []
        self.under_way = 0

    def begin(self, image: ListedImage) -> None:
        """Reads an image in another thread, as soon as a group of them is complete."""
        self.under_way += 1
        self._group.append(image)
        if len(self._group) >= _GROUP:
            self.begin_all()

    def begin_all(self) -> None:
        """Leaves none for later. Local files are there in no time: one thread reads all of a group."""
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
        """Waits for the next ones that are done. Raises errors that do not belong to an image."""
        block = self._shared.done.get()
        self.under_way -= len(block.results)
        _budget().give(block.size)
        if block.error:
            raise block.error
        return block.results

    def abandon(self) -> None:
        """Gives back what nobody will take, now or when it has been read."""
        self._shared.abandon()


@dataclasses.dataclass
class _Block:
    """Images that have been read, or are finished, and the bytes they take of the budget."""

    results: list[FetchedImage | FinishedImage] = dataclasses.field(default_factory=list)
    size: int = 0
    error: BaseException | None = None

    def add(self, result: FetchedImage | FinishedImage) -> int:
        """One more image. Returns its bytes."""
        size = len(result.data) if isinstance(result, FetchedImage) else 0
        self.results.append(result)
        self.size += size
        return size


@dataclasses.dataclass
class _Shared:
    """What the readers of a bundle share."""

    config: ReadConfig
    done: queue.SimpleQueue[_Block] = dataclasses.field(default_factory=queue.SimpleQueue)
    is_abandoned: bool = False

    def pass_on(self, block: _Block) -> None:
        """Gives a block to the bundle."""
        self.done.put(block)
        if self.is_abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Gives back what nobody will take."""
        self.is_abandoned = True
        with contextlib.suppress(queue.Empty):
            while True:
                _budget().give(self.done.get_nowait().size)


class _Reader:
    """Reads images one after the other, in a thread of the pool.

    If one of them does not end in time, it is given up together with the thread: another one goes on with the rest.
    """

    def __init__(self, images: Sequence[ListedImage], shared: _Shared) -> None:
        self._images, self._shared = collections.deque(images), shared
        self._lock = threading.Lock()
        self._block, self._held = _Block(), 0
        self._current: ListedImage | None = None
        self._is_given_up = False

    def start(self) -> None:
        """Begins as soon as a thread is free."""
        _threads().submit(self._run)

    def _run(self) -> bool:
        try:
            return self._read_all()
        except BaseException as error:  # or the bundle would wait for ever
            self._shared.pass_on(_Block(error=error))
            return True

    def _read_all(self) -> bool:
        """Reads the images. Returns False if this thread has been given up."""
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
            except BaseException as error:  # belongs to the bundle: its thread raises it
                fault = error
        with self._lock:
            if self._is_given_up:
                return
            self._current, self._block.error = None, fault
            size = self._block.add(result) if result else 0
            _budget().give(self._held - size)  # what was announced may not have been right
            self._held = 0

    def _result(self, image: ListedImage, deadline: Deadline) -> FetchedImage | FinishedImage:
        def admit(size: int) -> None:
            with deadline.paused():
                self._admit(size)

        # Where many reads have not come back the disk is taken for dead, until some of them do.
        if _threads().stuck >= MOST_STUCK and not storage.is_remote(image.location):
            raise StorageError(Reason.READ_FAILED, f"not read: {_threads().stuck} reads of files have not come back")
        config, known = self._shared.config, version_to_ask_for(image)
        content = storage.read(image.location, config.limits.max_bytes, admit=admit, unless=known, access=config.access)
        if content is None:
            finished = with_version(image, known, CONDITIONAL)
            assert finished is not None  # only a known version is not read
            return finished
        return with_content(image, content, CONTENT) or FetchedImage(
            image, content.data, content.content_hash, content.version
        )

    def _admit(self, size: int) -> None:
        """Waits until the budget has room."""
        self._hold(0)
        if not size:
            return
        if not _budget().try_take(size):
            self._pass_on()  # who waits must hold nothing that others wait for
            _budget().take(size)
        self._hold(size)

    def _hold(self, size: int) -> None:
        with self._lock:
            if self._is_given_up:  # nobody waits for it any more
                _budget().give(size)
                raise StorageError(Reason.READ_FAILED, "given up")
            _budget().give(self._held)
            self._held = size

    def _give_up(self, image: ListedImage) -> None:
        """Goes on without an image whose read does not come to an end, and without the thread that waits for it."""
        with self._lock:
            if self._current is not image:  # it has ended just now
                return
            self._is_given_up = True
            _budget().give(self._held)
            block, rest = self._block, list(self._images)
        message = f"not read in {self._shared.config.timeout:g} s"
        logging.getLogger(__name__).warning("%s: %s, given up", masked(image.location), message)
        block.add(failed(image, StorageError(Reason.READ_FAILED, message)))
        self._shared.pass_on(block)
        for other in rest:  # each by itself: they may lie on the same disk
            _Reader([other], self._shared).start()
        _threads().replace_one()

    def _pass_on(self) -> None:
        """Gives what has been read to the bundle."""
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
