from __future__ import annotations

import hashlib

import numpy as np
import pytest

from catalogue.cli.errors import UserError
from trainer.data.split import split_by_content


def hashes(count: int, seed: int = 0) -> list[str]:
    return [hashlib.sha256(f"{seed}/{number}".encode()).hexdigest() for number in range(count)]


def test_split_is_about_the_fraction_in_each_class() -> None:
    labels = ["a"] * 3000 + ["b"] * 1000
    mask = split_by_content(labels, hashes(4000), 0.1)
    assert mask[:3000].mean() == pytest.approx(0.1, abs=0.02)
    assert mask[3000:].mean() == pytest.approx(0.1, abs=0.03)


def test_split_stays_the_same_when_photos_are_added_or_reordered() -> None:
    labels, content = ["a", "b"] * 500, hashes(1000)
    before = dict(zip(content, split_by_content(labels, content, 0.1), strict=True))
    more = list(zip(labels + ["a"] * 700, content + hashes(700, seed=1), strict=True))[::-1]
    after = dict(
        zip((h for _, h in more), split_by_content([lb for lb, _ in more], [h for _, h in more], 0.1), strict=True)
    )
    assert all(after[content_hash] == side for content_hash, side in before.items())


def test_identical_files_never_fall_on_both_sides() -> None:
    content = hashes(6) * 3
    mask = split_by_content(["a", "b", "c"] * 6, content, 0.5)
    for content_hash in set(content):
        assert len(set(mask[np.array(content) == content_hash])) == 1


def test_every_class_has_photos_on_both_sides() -> None:
    for seed in range(20):
        labels = ["large"] * 50 + ["small"] * 2
        mask = split_by_content(labels, hashes(52, seed), 0.1)
        assert sorted(mask[50:]) == [False, True]


@pytest.mark.parametrize(("content", "words"), [(["1" * 64], "one photo"), (["1" * 64] * 3, "3 identical photos")])
def test_a_class_needs_two_different_photos(content: list[str], words: str) -> None:
    labels = ["few"] * len(content) + ["many"] * 9
    with pytest.raises(UserError, match=words):
        split_by_content(labels, content + hashes(9), 0.1)


def test_a_small_class_gives_about_its_tenth_too() -> None:
    """Pure chance gave 0 to 8 validation photos for classes of 30."""
    for seed in range(30):
        labels = [name for name in "abc" for _ in range(30)]
        mask = split_by_content(labels, hashes(90, seed), 0.1)
        assert all(2 <= mask[start : start + 30].sum() <= 4 for start in (0, 30, 60))


def test_groups_never_fall_on_both_sides() -> None:
    """Groups may have mixed labels; each class still contributes its share."""
    chance = np.random.default_rng(3)
    for seed in range(10):
        labels, groups = ["a", "b"] * 100, np.arange(200)
        for one, other in chance.choice(200, (30, 2), replace=False):
            groups[groups == groups[other]] = groups[one]
        mask = split_by_content(labels, hashes(200, seed), 0.1, groups)
        assert all(len(set(mask[groups == group])) == 1 for group in groups)
        assert 5 <= mask[::2].sum() <= 15


def test_a_class_of_photos_that_are_all_alike_is_divided_nevertheless() -> None:
    labels, groups = ["a"] * 50 + ["b"] * 5, np.array([*range(50), 0, 0, 0, 0, 0])
    mask = split_by_content(labels, hashes(55), 0.1, groups)
    assert 1 <= mask[50:].sum() <= 2
