"""What worker processes did in a run: seconds for each step, batches, engines, memory. Combined for ``run.json``."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

import apache_beam as beam

from pipeline.records import EngineChoice

READING, DECODING, INFERENCE, ALL = "reading", "decoding", "inference", "all"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one or more processes did.

    Attributes:
        seconds: step -> seconds that threads spent in it; `ALL` for those of whole bundles.
        batches: size -> how many of that size were classified.
        engines: engine -> how many images it classified.
        peak_bytes: of resident memory, of the process that had the most.
        processes: their names.
        first: seconds since 1970 when the first image was classified; None if none was.
    """

    seconds: dict[str, float]
    batches: dict[int, int]
    engines: dict[EngineChoice, int]
    peak_bytes: int
    processes: frozenset[str]
    first: float | None


NOTHING = Measurement({}, {}, {}, 0, frozenset(), None)


def total(measurements: Iterable[Measurement]) -> Measurement:
    """All of several measurements together."""
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
    """Measurements to one `Measurement`."""

    def create_accumulator(self) -> Measurement:
        """Nothing."""
        return NOTHING

    def add_input(self, accumulator: Measurement, measurement: Measurement) -> Measurement:
        """One more."""
        return total([accumulator, measurement])

    def merge_accumulators(self, accumulators: Iterable[Measurement]) -> Measurement:
        """All parts."""
        return total(accumulators)

    def extract_output(self, accumulator: Measurement) -> Measurement:
        """The total."""
        return accumulator
