"""Reads images ahead of what decodes and classifies them, many at a time, within a bound of memory.

A GET takes 20 to 100 ms and a photo a few of decoding and inference: one by one a worker would wait most of its time.
Each bundle keeps a number of reads under way, in threads of its process or in its one event loop, and goes on with
whichever is done first. What has been read and not been taken yet counts against one budget of bytes of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from catalogue.images.reader import ImageError, Limits
from catalogue.storage.files import is_remote
from pipeline import event_loop
from pipeline.machine import cores, memory
from pipeline.metering.meter import READING, meter
from pipeline.reading.decode import DEAD_LETTERS, Outcome, dead_letters
from pipeline.records import DeadLetter, Entry, EntryData
from pipeline.sources import is_awaited, read_async, read_bytes

READS = 64
_LOCAL_FILES = 16  # that one thread reads in turn: they are there in no time, and waking a thread is not
_BLOCK_BYTES = 2**20
_SECONDS_TO_ASK_AGAIN = 0.01
_LEAST_BYTES, _MOST_BYTES, _SHARE_OF_MEMORY = 64 * 2**20, 512 * 2**20, 1 / 8


class Budget:
    """A number of bytes that threads share.

    Args:
        size: how many there are.
    """

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Waits until there is room. Something larger than the whole budget gets it when nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(count))
            self._taken += count

    def try_take(self, count: int) -> bool:
        """`take`, if there is room now. Returns whether there was."""
        with self._changed:
            there_is = self._has(count)
            self._taken += count if there_is else 0
        return there_is

    def _has(self, count: int) -> bool:
        return not self._taken or self._taken + count <= self._size

    def give(self, count: int) -> None:
        """Returns what was taken."""
        with self._changed:
            self._taken -= count
            self._changed.notify_all()


class ReadAhead(beam.PTransform):
    """Reads the bytes of images; what cannot be read becomes dead letters.

    Args:
        limits: what is refused.
        folder: of the run's unfinished files.
    """

    def __init__(self, limits: Limits, folder: str) -> None:
        super().__init__()
        self._fn = _ReadAheadFn(limits, folder)

    def expand(self, entries: beam.PCollection) -> Outcome:
        """PCollection of `Entry`s to PCollections of `EntryData` and of `DeadLetter`s."""
        outputs = entries | beam.ParDo(self._fn).with_outputs(DEAD_LETTERS, main="results")
        return Outcome(outputs.results, outputs[DEAD_LETTERS])


class _ReadAheadFn(beam.DoFn):
    def __init__(self, limits: Limits, folder: str) -> None:
        self._limits, self._folder = limits, folder
        self._reads: _Reads | None = None

    def start_bundle(self) -> None:
        self.teardown()  # of a bundle that failed nobody takes the rest
        self._reads = _Reads(self._limits)

    def process(self, entry: Entry) -> Iterator[Any]:
        reads = self._reads
        assert reads is not None
        reads.begin(entry)
        while reads.under_way > READS:
            yield from self._next(reads)

    def finish_bundle(self) -> Iterator[Any]:
        reads, windowed = self._reads, GlobalWindows.windowed_value_at_end_of_window
        assert reads is not None
        reads.begin_all()
        while reads.under_way:
            for value in self._next(reads):
                if isinstance(value, beam.pvalue.TaggedOutput):
                    yield beam.pvalue.TaggedOutput(value.tag, windowed(value.value))
                else:
                    yield windowed(value)

    def teardown(self) -> None:
        if self._reads:
            self._reads.abandon()

    def _next(self, reads: _Reads) -> Iterator[Any]:
        with meter(self._folder).timing(READING):
            results = reads.next()
        for result in results:
            if isinstance(result, EntryData):
                yield result
                continue
            meter(self._folder).count(failed=len(result))
            for letter in result:
                yield beam.pvalue.TaggedOutput(DEAD_LETTERS, letter)


class _Reads:
    """The reads that one bundle has under way.

    Attributes:
        under_way: how many images were begun and have not been taken.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._done: queue.SimpleQueue[_Block] = queue.SimpleQueue()
        self._local: list[Entry] = []
        self._abandoned = False
        self.under_way = 0

    def begin(self, entry: Entry) -> None:
        """Reads an image, not in this thread; a local one soon."""
        self.under_way += 1
        if is_awaited(entry.location):
            event_loop.start(self._read_awaited(entry))
            return
        if is_remote(entry.location):
            _threads().submit(self._read, [entry])
            return
        self._local.append(entry)
        if len(self._local) >= _LOCAL_FILES:
            self.begin_all()

    def begin_all(self) -> None:
        """Leaves none for later."""
        if self._local:
            _threads().submit(self._read, self._local)
            self._local = []

    def next(self) -> list[EntryData | list[DeadLetter]]:
        """Waits for the next ones that are done. Raises what is no fault of an image."""
        block = self._done.get()
        self.under_way -= len(block.results)
        _budget().give(block.size)
        if block.error:
            raise block.error
        return block.results

    def abandon(self) -> None:
        """Gives back what nobody will take, now or when it has been read."""
        self._abandoned = True
        with contextlib.suppress(queue.Empty):
            while True:
                _budget().give(self._done.get_nowait().size)

    def _read(self, entries: Sequence[Entry]) -> None:
        """Reads images one after the other, in a thread of the pool."""
        block = _Block()
        for entry in entries:
            if self._abandoned:
                break
            if block.size >= _BLOCK_BYTES:
                block = self._passed_on(block)
            block = self._read_one(entry, block)
            if block.error:
                break
        self._passed_on(block)

    async def _read_awaited(self, entry: Entry) -> None:
        """Reads an image in the event loop."""
        block, held = _Block(), 0

        async def admit(size: int) -> None:
            nonlocal held
            _budget().give(held)
            held = 0
            while not _budget().try_take(size):
                await asyncio.sleep(_SECONDS_TO_ASK_AGAIN)
            held = size

        if not self._abandoned:
            try:
                block.add(entry, await read_async(entry.location, self._limits, admit))
            except BaseException as error:
                block.fail(entry, error)
            _budget().give(held - block.size)
        self._passed_on(block)

    def _read_one(self, entry: Entry, block: _Block) -> _Block:
        held = 0

        def admit(size: int) -> None:
            nonlocal held, block
            _budget().give(held)
            held = 0
            if not _budget().try_take(size):
                block = self._passed_on(block)  # who waits must hold nothing that others wait for
                _budget().take(size)
            held = size

        size = 0
        try:
            data = read_bytes(entry.location, self._limits, admit)
            block.add(entry, data)
            size = len(data)
        except BaseException as error:
            block.fail(entry, error)
        _budget().give(held - size)  # what was announced may not have been right
        return block

    def _passed_on(self, block: _Block) -> _Block:
        """Gives a block to the bundle. Returns a new one."""
        self._done.put(block)
        if self._abandoned:
            self.abandon()
        return _Block()


@dataclasses.dataclass
class _Block:
    """Images that have been read, dead letters where that failed, and the bytes they take of the budget."""

    results: list[EntryData | list[DeadLetter]] = dataclasses.field(default_factory=list)
    size: int = 0
    error: BaseException | None = None

    def add(self, entry: Entry, data: bytes) -> None:
        """One more image."""
        self.results.append(EntryData(entry, data))
        self.size += len(data)

    def fail(self, entry: Entry, error: BaseException) -> None:
        """An image that cannot be read, or a fault, which belongs to the bundle: its thread raises it."""
        if isinstance(error, ImageError):
            self.results.append(dead_letters(entry, error))
        else:
            self.error = error


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READS, thread_name_prefix="read")


@functools.cache
def _budget() -> Budget:
    share = int(memory() * _SHARE_OF_MEMORY / cores())
    return Budget(min(max(share, _LEAST_BYTES), _MOST_BYTES))
