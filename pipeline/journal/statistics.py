"""Statistics of finished images: counts, and scores of each class. Each bundle collects its own statistics."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterable

import apache_beam as beam

from pipeline.records import FRESH, ClassStats, FinishedImage, ReportPhoto

HISTOGRAM_BINS = 20
EXAMPLES = 4


class Statistics:
    """Mergeable statistics of finished images.

    Attributes:
        images: number of images.
        predictions: rows of classified images.
        dead_letters: reason -> rows of images that could not be classified.
        duplicates: duplicate manifest lines: rows of an image beyond its first row.
        classified: rows of predictions made in this run.
        reused: source -> rows with results of earlier attempts and runs, or of identical images.
        retried: rows of images that were retried after a transient failure.
    """

    def __init__(self) -> None:
        self.images = self.predictions = self.duplicates = self.classified = self.retried = 0
        self.dead_letters = collections.Counter[str]()
        self.reused = collections.Counter[str]()
        self._classes = collections.defaultdict[str, _ClassStatistics](_ClassStatistics)
        self._failures = dict[str, tuple[tuple[str, str], ...]]()

    def add(self, image: FinishedImage) -> None:
        """Add an image."""
        rows, result = image.listed.rows, image.result
        self.images += 1
        self.duplicates += max(len(rows) - 1, 0)
        self.retried += len(rows) if image.is_retried else 0
        if image.source != FRESH:
            self.reused[image.source] += len(rows)
        elif result.top:
            self.classified += len(rows)
        if result.reason is not None:
            self.dead_letters[result.reason] += len(rows)
            self._add_failures(result.reason, ((uri, result.message) for uri, _ in rows))
            return
        label, score = result.top[0]
        self.predictions += len(rows)
        own = self._classes[label]
        for uri, _ in rows:
            own.add(score, uri, image.listed.location)

    def merge(self, other: Statistics) -> None:
        """Add other statistics."""
        self.images += other.images
        self.predictions += other.predictions
        self.duplicates += other.duplicates
        self.classified += other.classified
        self.retried += other.retried
        self.reused.update(other.reused)
        self.dead_letters.update(other.dead_letters)
        for label, part in other._classes.items():
            self._classes[label].merge(part)
        for reason, examples in other._failures.items():
            self._add_failures(reason, examples)

    def classes(self) -> dict[str, ClassStats]:
        """Return the statistics of each predicted class. No photo is among both the surest and the least sure."""
        return {label: own.finished() for label, own in self._classes.items()}

    def failures(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Return a few examples of each reason, as (URI, message)."""
        return dict(self._failures)

    def _add_failures(self, reason: str, examples: Iterable[tuple[str, str]]) -> None:
        self._failures[reason] = tuple(sorted({*self._failures.get(reason, ()), *examples})[:EXAMPLES])


class _ClassStatistics:
    """Accumulated statistics of one class."""

    def __init__(self) -> None:
        self.count, self.score_sum = 0, 0.0
        self.histogram = [0] * HISTOGRAM_BINS
        self.ranked: list[tuple[float, str, str]] = []  # (-score, uri, location), the highest score first

    def add(self, score: float, uri: str, location: str) -> None:
        self.count += 1
        self.score_sum += score
        self.histogram[min(int(score * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
        example = (-score, uri, location)
        if example not in self.ranked:  # manifest lines may be duplicated
            bisect.insort(self.ranked, example)
            self._keep_ends()

    def merge(self, other: _ClassStatistics) -> None:
        self.count += other.count
        self.score_sum += other.score_sum
        self.histogram = [a + b for a, b in zip(self.histogram, other.histogram, strict=True)]
        self.ranked = sorted({*self.ranked, *other.ranked})
        self._keep_ends()

    def _keep_ends(self) -> None:
        del self.ranked[EXAMPLES:-EXAMPLES]

    def finished(self) -> ClassStats:
        examples = [ReportPhoto(-negated, uri, location) for negated, uri, location in self.ranked]
        least_sure = examples[max(EXAMPLES, len(examples) - EXAMPLES) :]
        return ClassStats(
            self.count, self.score_sum, tuple(self.histogram), tuple(examples[:EXAMPLES]), tuple(reversed(least_sure))
        )


class MergeStatistics(beam.CombineFn):
    """Beam combiner that adds up `Statistics`."""

    def create_accumulator(self) -> Statistics:
        """Return empty statistics."""
        return Statistics()

    def add_input(self, accumulator: Statistics, statistics: Statistics) -> Statistics:
        """Add statistics to the accumulator."""
        accumulator.merge(statistics)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Statistics]) -> Statistics:
        """Merge all accumulators."""
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Statistics) -> Statistics:
        """Return the total."""
        return accumulator
