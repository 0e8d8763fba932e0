from __future__ import annotations

import random

import pytest

from pipeline.journal.statistics import EXAMPLES, HISTOGRAM_BINS, MergeStatistics, Statistics
from pipeline.records import FinishedImage, ListedImage, Result


def classified(label: str, score: float, *uris: str) -> FinishedImage:
    listed = ListedImage(f"/{uris[0]}", tuple((uri, {}) for uri in uris))
    return FinishedImage(listed, Result(listed.location, top=((label, score),)))


def failed(reason: str, message: str, *uris: str) -> FinishedImage:
    listed = ListedImage(f"/{uris[0]}", tuple((uri, {}) for uri in uris))
    return FinishedImage(listed, Result(listed.location, reason=reason, message=message))


def combine(*parts: list[FinishedImage]) -> Statistics:
    combiner, accumulators = MergeStatistics(), []
    for part in parts:
        own = Statistics()
        for image in part:
            own.add(image)
        accumulators.append(combiner.add_input(combiner.create_accumulator(), own))
    return combiner.extract_output(combiner.merge_accumulators(accumulators))


def test_statistics_are_those_of_the_scores_however_they_are_divided() -> None:
    chance = random.Random(0)
    images = [classified(chance.choice("ab"), chance.random(), f"{number}") for number in range(500)]
    for found in (combine(images), combine(images[:3], [], images[3:200], images[200:])):
        assert (found.images, found.predictions, found.duplicates) == (500, 500, 0)
        for label in "ab":
            tops = [image.result.top[0] for image in images]
            scores = sorted((score for own, score in tops if own == label), reverse=True)
            stats = found.classes()[label]
            assert stats.count == len(scores)
            assert stats.score_sum == pytest.approx(sum(scores))
            expected = [sum(int(score * HISTOGRAM_BINS) == bin_ for score in scores) for bin_ in range(HISTOGRAM_BINS)]
            assert list(stats.histogram) == expected
            assert [example.score for example in stats.surest] == scores[:EXAMPLES]
            assert [example.score for example in stats.least_sure] == scores[: -EXAMPLES - 1 : -1]


def test_each_line_that_names_an_image_counts() -> None:
    found = combine([classified("a", 0.5, "x", "./x", "x"), failed("empty", "0 bytes", "y", "./y")])
    assert (found.images, found.predictions, found.duplicates) == (2, 3, 3)
    assert found.dead_letters == {"empty": 2}
    assert found.classes()["a"].count == 3
    assert [example.uri for example in found.classes()["a"].surest] == ["./x", "x"]  # each photo is shown once


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert combine([classified("a", 1.0, "x")]).classes()["a"].histogram[-1] == 1


@pytest.mark.parametrize("count", range(1, 2 * EXAMPLES + 2))
def test_no_photo_is_an_example_twice(count: int) -> None:
    stats = combine([classified("a", number / 10, f"{number}") for number in range(count)]).classes()["a"]
    uris = [example.uri for example in stats.surest + stats.least_sure]
    assert len(uris) == len(set(uris)) == min(count, 2 * EXAMPLES)


def test_dead_letters_by_reason_with_a_few_examples() -> None:
    torn = [failed("corrupt", "torn", f"{number}.jpg") for number in range(10)]
    found = combine(torn[:7], [*torn[7:], failed("empty", "0 bytes", "x")])
    assert found.dead_letters == {"corrupt": 10, "empty": 1}
    assert found.failures()["empty"] == (("x", "0 bytes"),)
    assert len(found.failures()["corrupt"]) == EXAMPLES


def test_what_is_reused_and_retried_is_counted_apart() -> None:
    failed_before = Result("/x", reason="read_failed", transient=True)

    def image(source: str, *known: Result) -> FinishedImage:
        return FinishedImage(
            ListedImage("/x", (("x", {}), ("./x", {})), None, known), Result("/x", top=(("a", 1.0),)), source
        )

    found = combine(
        [image("fresh"), image("unread")], [image("unread"), image("content"), image("fresh", failed_before)]
    )
    assert (found.predictions, found.classified, found.retried) == (10, 4, 2)
    assert found.reused == {"unread": 4, "content": 2}
