"""Beam transform that reads images concurrently, ahead of decoding and inference, within a memory budget.

A GET takes 20 to 100 ms, but decoding and inference take only a few milliseconds: with sequential reads, a worker would
spend most of its time waiting. `pipeline.reading.reads` implements the reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from pipeline.config import ReadConfig
from pipeline.metering.measurement import READING
from pipeline.metering.meter import Meter, MeterHandle
from pipeline.reading.outcome import FINISHED, Outcome
from pipeline.reading.reads import READS, Reads, prepare
from pipeline.records import FetchedImage, ListedImage

_setup = threading.Lock()


class ReadAhead(beam.PTransform):
    """Beam transform that reads the bytes of images.

    Images that cannot be read, or whose known results are still valid, become `FinishedImage`s.

    Args:
        config: read settings.
        meter: handle to the meter of the run.
    """

    def __init__(self, config: ReadConfig, meter: MeterHandle) -> None:
        super().__init__()
        self._fn = _ReadAheadFn(config, meter)

    def expand(self, listed: beam.PCollection) -> Outcome:
        """Turn `ListedImage`s into PCollections of `FetchedImage`s and of `FinishedImage`s."""
        outputs = listed | beam.ParDo(self._fn).with_outputs(FINISHED, main="results")
        return Outcome(outputs.results, outputs[FINISHED])


class _ReadAheadFn(beam.DoFn):
    def __init__(self, config: ReadConfig, meter: MeterHandle) -> None:
        self._config, self._handle = config, meter
        self._reads: Reads | None = None

    def setup(self) -> None:
        self._meter: Meter = self._handle.get()
        with _setup:  # another thread may set up at the same time
            prepare()

    def start_bundle(self) -> None:
        self.teardown()  # release the reads of a failed bundle
        self._reads = Reads(self._config)

    def process(self, image: ListedImage) -> Iterator[Any]:
        reads = self._reads
        assert reads is not None
        self._meter.check()
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
                self._meter.add_bytes(len(result.data))
                yield result
                continue
            self._meter.count_finished(result)
            yield beam.pvalue.TaggedOutput(FINISHED, result)
