from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.data.conftest import Features, saved_again
from trainer.data import duplicates
from trainer.data.duplicates import near_duplicates


def test_photos_that_were_saved_again_are_found_and_no_others(features: Features) -> None:
    again = list(range(0, len(features.files), 20))
    copies = features.of([saved_again(features.files[row], quality=75) for row in again])
    found = near_duplicates(np.concatenate([features.values, copies]))
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    expected = {(row, len(features.files) + number) for number, row in enumerate(again)}
    assert expected <= pairs
    assert len(pairs - expected) <= 1  # the data set itself has a few duplicates
    assert all(found.groups[row] == found.groups[len(features.files) + number] for number, row in enumerate(again))


def test_where_most_photos_resemble_each_other_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    alike = np.repeat(chance.normal(size=(50, 20)), 2, axis=0) + chance.normal(size=(100, 20)) / 100
    assert len(near_duplicates(alike).pairs) == 0
    assert len(near_duplicates(np.concatenate([alike, chance.normal(size=(200, 20))])).pairs) == 50
    assert len(near_duplicates(np.ones((300, 20))).pairs) == 0
    monkeypatch.setattr(duplicates, "_MOST_VALUES", 7 * 300)  # forces several blocks
    assert len(near_duplicates(np.concatenate([alike, chance.normal(size=(200, 20))])).pairs) == 50
    monkeypatch.setattr(duplicates, "MOST_PHOTOS", 200)
    assert len(near_duplicates(np.concatenate([alike, chance.normal(size=(200, 20))])).pairs) == 0
