"""Measurements of worker processes (seconds per step, batches, engines, memory) and their total for ``run.json``."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

import apache_beam as beam

from pipeline.records import EngineChoice

READING, DECODING, INFERENCE, ALL = "reading", "decoding", "inference", "all"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Measurement of one or more processes.

    Attributes:
        seconds: step -> thread seconds spent in it; `ALL` for whole bundles.
        batches: batch size -> number of classified batches.
        engines: engine -> number of images it classified.
        peak_bytes: largest peak of resident memory of any process, in bytes.
        processes: names of the processes.
        first: time of the first classified image in seconds since 1970; None if no image was classified.
    """

    seconds: dict[str, float]
    batches: dict[int, int]
    engines: dict[EngineChoice, int]
    peak_bytes: int
    processes: frozenset[str]
    first: float | None


NOTHING = Measurement({}, {}, {}, 0, frozenset(), None)


def total(measurements: Iterable[Measurement]) -> Measurement:
    """Combine several measurements into one."""
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


class Total(beam.CombineFn):
    """Beam combiner that merges all `Measurement`s into one."""

    def create_accumulator(self) -> Measurement:
        """Return an empty measurement."""
        return NOTHING

    def add_input(self, accumulator: Measurement, measurement: Measurement) -> Measurement:
        """Add a measurement to the accumulator."""
        return total([accumulator, measurement])

    def merge_accumulators(self, accumulators: Iterable[Measurement]) -> Measurement:
        """Combine several accumulators into one."""
        return total(accumulators)

    def extract_output(self, accumulator: Measurement) -> Measurement:
        """Return the total."""
        return accumulator
