"""Statistics of what was classified and of what was not: combined in parts, on any number of workers."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from pipeline.records import ClassStats, DeadLetter, Prediction, ReportPhoto

HISTOGRAM_BINS = 20
EXAMPLES = 4


class _Accumulator:
    """The statistics of one class while they grow."""

    def __init__(self) -> None:
        self.count, self.score_sum = 0, 0.0
        self.histogram = [0] * HISTOGRAM_BINS
        self.ranked: list[tuple[float, str, str]] = []  # (-score, uri, location), the surest first

    def add(self, prediction: Prediction) -> None:
        self.count += 1
        self.score_sum += prediction.score
        self.histogram[min(int(prediction.score * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
        bisect.insort(self.ranked, (-prediction.score, prediction.uri, prediction.location))
        self._keep_ends()

    def merge(self, other: _Accumulator) -> None:
        self.count += other.count
        self.score_sum += other.score_sum
        self.histogram = [a + b for a, b in zip(self.histogram, other.histogram, strict=True)]
        self.ranked = sorted(self.ranked + other.ranked)
        self._keep_ends()

    def _keep_ends(self) -> None:
        del self.ranked[EXAMPLES:-EXAMPLES]

    def finished(self) -> ClassStats:
        examples = [ReportPhoto(-negated, uri, location) for negated, uri, location in self.ranked]
        least_sure = examples[max(EXAMPLES, len(examples) - EXAMPLES) :]
        return ClassStats(
            self.count, self.score_sum, tuple(self.histogram), tuple(examples[:EXAMPLES]), tuple(reversed(least_sure))
        )


class ClassStatistics(beam.CombineFn):
    """Predictions to a dictionary: label -> `ClassStats`. No photo is an example of both ends."""

    def create_accumulator(self) -> dict[str, _Accumulator]:
        """No classes."""
        return collections.defaultdict(_Accumulator)

    def add_input(self, accumulator: dict[str, _Accumulator], prediction: Prediction) -> dict[str, _Accumulator]:
        """One prediction more."""
        accumulator[prediction.label].add(prediction)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[str, _Accumulator]]) -> dict[str, _Accumulator]:
        """The statistics of all parts."""
        merged = self.create_accumulator()
        for accumulator in accumulators:
            for label, part in accumulator.items():
                merged[label].merge(part)
        return merged

    def extract_output(self, accumulator: dict[str, _Accumulator]) -> dict[str, ClassStats]:
        """The finished statistics."""
        return {label: part.finished() for label, part in accumulator.items()}


class DeadLetterStatistics(beam.CombineFn):
    """Dead letters to a dictionary: reason -> (count, a few of them as (uri, message))."""

    def create_accumulator(self) -> dict[str, Any]:
        """No reasons."""
        return {}

    def add_input(self, accumulator: dict[str, Any], letter: DeadLetter) -> dict[str, Any]:
        """One dead letter more."""
        return self.merge_accumulators([accumulator, {letter.reason: (1, ((letter.uri, letter.message),))}])

    def merge_accumulators(self, accumulators: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The reasons of all parts."""
        merged: dict[str, Any] = {}
        for accumulator in accumulators:
            for reason, (count, examples) in accumulator.items():
                known, shown = merged.get(reason, (0, ()))
                merged[reason] = (known + count, tuple(sorted({*shown, *examples})[:EXAMPLES]))
        return merged

    def extract_output(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """The finished counts."""
        return accumulator
