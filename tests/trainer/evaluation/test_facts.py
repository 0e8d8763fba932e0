from __future__ import annotations

import numpy as np

from trainer.evaluation import facts
from trainer.evaluation.metrics import measure

LABELS = ("a", "b", "c", "d")


def test_the_weakest_class_comes_first_and_one_without_photos_last() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 0, 1, 2, 1, 1])
    found = facts.weakest_first(measure(truth, np.eye(4)[predicted], LABELS))
    assert [(one.label, one.photos) for one in found] == [("c", 2), ("b", 2), ("a", 4), ("d", 0)]


def test_pairs_that_are_confused_most_often_come_first() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 2, 1, 2, 1, 1])
    found = facts.confused_pairs(measure(truth, np.eye(4)[predicted], LABELS))
    assert [tuple(pair) for pair in found] == [("c", "b", 2, 1.0), ("b", "c", 1, 0.5), ("a", "c", 1, 0.25)]
