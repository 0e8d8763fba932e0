"""Beam transform that reads images ahead of decoding and inference, many at a time, within a bound of memory.

A GET takes 20 to 100 ms, decoding and inference a few: one by one a worker would wait most of its time. Each bundle
keeps a number of reads under way in threads of its process, and goes on with whichever is done first. Bytes that have
been read and not been taken yet count against one budget of the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from catalogue import storage
from catalogue.images.spec import Limits
from catalogue.reasons import StorageError
from pipeline.journal.reuse import version_to_ask_for, with_content, with_version
from pipeline.machine import cores, memory
from pipeline.metering.measurement import READING
from pipeline.metering.meter import Meter, MeterHandle
from pipeline.reading.budget import Budget
from pipeline.reading.outcome import FINISHED, Outcome, failed
from pipeline.records import CONDITIONAL, CONTENT, FRESH, FetchedImage, FinishedImage, ListedImage

READS = 64
_GROUP = 16  # reads begun together: threads that wake now and then cost the one that decodes a tenth of its speed
_BLOCK_BYTES = 2**20
_LEAST_BYTES, _MOST_BYTES, _SHARE_OF_MEMORY = 64 * 2**20, 512 * 2**20, 1 / 8


class ReadAhead(beam.PTransform):
    """Reads the bytes of images; those that cannot be read, or have known results that hold, are finished.

    Args:
        limits: which images are too large.
        meter: of the run.
    """

    def __init__(self, limits: Limits, meter: MeterHandle) -> None:
        super().__init__()
        self._fn = _ReadAheadFn(limits, meter)

    def expand(self, listed: beam.PCollection) -> Outcome:
        """PCollection of `ListedImage`s to PCollections of `FetchedImage`s and of `FinishedImage`s."""
        outputs = listed | beam.ParDo(self._fn).with_outputs(FINISHED, main="results")
        return Outcome(outputs.results, outputs[FINISHED])


class _ReadAheadFn(beam.DoFn):
    def __init__(self, limits: Limits, meter: MeterHandle) -> None:
        self._limits, self._handle = limits, meter
        self._reads: Reads | None = None

    def setup(self) -> None:
        self._meter: Meter = self._handle.get()

    def start_bundle(self) -> None:
        self.teardown()  # nobody takes the rest of a bundle that failed
        self._reads = Reads(self._limits)

    def process(self, image: ListedImage) -> Iterator[Any]:
        reads = self._reads
        assert reads is not None
        reads.begin(image)
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

    def _next(self, reads: Reads) -> Iterator[Any]:
        with self._meter.timing(READING):
            results = reads.next()
        for result in results:
            if isinstance(result, FetchedImage):
                yield result
                continue
            rows = len(result.listed.rows)
            self._meter.count(**{"failed" if result.source == FRESH else "reused": rows})
            yield beam.pvalue.TaggedOutput(FINISHED, result)


class Reads:
    """The reads that one bundle has under way.

    Args:
        limits: which images are too large.

    Attributes:
        under_way: how many images were begun and have not been taken.
    """

    def __init__(self, limits: Limits) -> None:
        self._max_bytes = limits.max_bytes
        self._done: queue.SimpleQueue[_Block] = queue.SimpleQueue()
        self._group: list[ListedImage] = []
        self._abandoned = False
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
                _threads().submit(self._read, [image])
            else:
                local.append(image)
        if local:
            _threads().submit(self._read, local)
        self._group = []

    def next(self) -> list[FetchedImage | FinishedImage]:
        """Waits for the next ones that are done. Raises errors that do not belong to an image."""
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

    def _read(self, images: Sequence[ListedImage]) -> None:
        """Reads images one after the other, in a thread of the pool."""
        block = _Block()
        for image in images:
            if self._abandoned:
                break
            if block.size >= _BLOCK_BYTES:
                block = self._passed_on(block)
            block = self._read_one(image, block)
            if block.error:
                break
        self._passed_on(block)

    def _read_one(self, image: ListedImage, block: _Block) -> _Block:
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
            known = version_to_ask_for(image)
            content = storage.read(image.location, self._max_bytes, admit=admit, unless=known)
            finished = (
                with_version(image, known, CONDITIONAL) if content is None else with_content(image, content, CONTENT)
            )
            if finished:
                block.results.append(finished)
            else:
                assert content is not None  # only a known version is not read
                block.add(image, content)
                size = len(content.data)
        except StorageError as error:
            block.results.append(failed(image, error))
        except BaseException as error:  # belongs to the bundle: its thread raises it
            block.error = error
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
    """Images that have been read, or are finished, and the bytes they take of the budget."""

    results: list[FetchedImage | FinishedImage] = dataclasses.field(default_factory=list)
    size: int = 0
    error: BaseException | None = None

    def add(self, image: ListedImage, content: storage.Content) -> None:
        """One more image."""
        self.results.append(FetchedImage(image, content.data, content.content_hash, content.version))
        self.size += len(content.data)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READS, thread_name_prefix="read")


@functools.cache
def _budget() -> Budget:
    share = int(memory() * _SHARE_OF_MEMORY / cores())
    return Budget(min(max(share, _LEAST_BYTES), _MOST_BYTES))
