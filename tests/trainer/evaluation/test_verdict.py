from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from catalogue import model_dir
from trainer.evaluation import verdict
from trainer.evaluation.metrics import measure

LABELS = ("a", "b", "c")


def last_sentence(model: Path, right: int) -> str:
    """Return the last sentence of the verdict if the first `right` of 16 photos are predicted correctly."""
    truth = np.array([0] * 6 + [1] * 5 + [2] * 5)
    predicted = np.where(np.arange(16) < right, truth, (truth + 1) % 3)
    info = dataclasses.replace(model_dir.read(model).info, metrics=measure(truth, np.eye(3)[predicted], LABELS))
    *_, last = verdict.sentences(dataclasses.replace(info, test_metrics=None))
    return last


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (6, "warning: the model is no better than chance: always predicting the most frequent label is right for 0.3"),
        (9, "warning: on 16 photos this accuracy is not distinguishable from chance: always predicting the most"),
        (16, "always predicting the most frequent label would be right for 0.375 of the photos"),
    ],
)
def test_an_accuracy_is_compared_with_chance(tiny_model: Path, right: int, words: str) -> None:
    assert last_sentence(tiny_model, right).startswith(words)
