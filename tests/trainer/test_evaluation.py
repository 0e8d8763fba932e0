from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation import fit_temperature, metrics, softmax

LABELS = ("a", "b", "c")


def test_metrics_of_a_case_done_by_hand() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.3, 0.6, 0.1]])
    found = metrics(truth, probabilities, LABELS)
    assert found["examples"] == 4
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.1, 0.5, 0.6]).mean())
    assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert found["per_class"]["a"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert found["per_class"]["b"] == {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": 0.8, "support": 2}
    assert found["per_class"]["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_temperature_undoes_a_known_overconfidence() -> None:
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 1.5, (20_000, 3))
    truth = np.array([chance.choice(3, p=row) for row in softmax(logits)])
    assert fit_temperature(logits, truth) == pytest.approx(1.0, abs=0.05)
    assert fit_temperature(logits * 3, truth) == pytest.approx(3.0, abs=0.15)


def test_temperature_is_bounded_where_everything_is_right() -> None:
    assert fit_temperature(np.eye(3) * 4, np.arange(3)) == pytest.approx(0.5, abs=0.001)


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, 0.0]])), [[0.5, 0.5, 0.0]])
