from __future__ import annotations

import random

import pytest

from pipeline.records import ClassStats, DeadLetter, Prediction
from pipeline.run_dir.stats import EXAMPLES, HISTOGRAM_BINS, ClassStatistics, DeadLetterStatistics


def prediction(label: str, score: float, uri: str) -> Prediction:
    return Prediction(uri, label, score, ((label, score),), "model", "hash", {}, f"/{uri}")


def combine(parts: list[list[Prediction]]) -> dict[str, ClassStats]:
    combiner, accumulators = ClassStatistics(), []
    for part in parts:
        accumulator = combiner.create_accumulator()
        for one in part:
            accumulator = combiner.add_input(accumulator, one)
        accumulators.append(accumulator)
    return combiner.extract_output(combiner.merge_accumulators(accumulators))


def test_statistics_are_those_of_the_scores_however_they_are_divided() -> None:
    chance = random.Random(0)
    all_ = [prediction(chance.choice("ab"), chance.random(), f"{number}") for number in range(500)]
    whole, parts = combine([all_]), combine([all_[:3], [], all_[3:200], all_[200:]])
    for label in "ab":
        scores = sorted((one.score for one in all_ if one.label == label), reverse=True)
        for stats in (whole[label], parts[label]):
            assert stats.count == len(scores)
            assert stats.score_sum == pytest.approx(sum(scores))
            expected = [sum(int(score * HISTOGRAM_BINS) == bin_ for score in scores) for bin_ in range(HISTOGRAM_BINS)]
            assert list(stats.histogram) == expected
            assert [example.score for example in stats.surest] == scores[:EXAMPLES]
            assert [example.score for example in stats.least_sure] == scores[: -EXAMPLES - 1 : -1]


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert combine([[prediction("a", 1.0, "x")]])["a"].histogram[-1] == 1


@pytest.mark.parametrize("count", range(1, 2 * EXAMPLES + 2))
def test_no_photo_is_an_example_twice(count: int) -> None:
    stats = combine([[prediction("a", number / 10, f"{number}") for number in range(count)]])["a"]
    uris = [example.uri for example in stats.surest + stats.least_sure]
    assert len(uris) == len(set(uris)) == min(count, 2 * EXAMPLES)


def test_dead_letters_by_reason_with_a_few_examples() -> None:
    combiner = DeadLetterStatistics()
    accumulator = combiner.create_accumulator()
    for number in range(10):
        accumulator = combiner.add_input(accumulator, DeadLetter(f"{number}.jpg", "corrupt", False, "torn", {}))
    other = combiner.add_input(combiner.create_accumulator(), DeadLetter("x", "empty", False, "0 bytes", {}))
    found = combiner.extract_output(combiner.merge_accumulators([accumulator, other]))
    assert {reason: count for reason, (count, _) in found.items()} == {"corrupt": 10, "empty": 1}
    assert len(found["corrupt"][1]) == EXAMPLES
