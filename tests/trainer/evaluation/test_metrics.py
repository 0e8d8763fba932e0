from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation import metrics
from trainer.evaluation.metrics import fit_temperature, softmax

LABELS = ("a", "b", "c")


def test_metrics_of_a_case_done_by_hand() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.3, 0.6, 0.1]])
    found = metrics.measure(truth, probabilities, LABELS)
    assert found["examples"] == 4
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.1, 0.5, 0.6]).mean())
    labels_of = [(pair["truth"], pair["predicted"], pair["count"]) for pair in found["confusion"]]
    assert labels_of == [("b", "b", 2), ("a", "a", 1), ("a", "b", 1)]
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


def test_means_over_the_classes_that_have_examples() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.3, 0.6, 0.1]])
    found = metrics.measure(truth, probabilities, LABELS)
    assert found["macro_recall"] == 0.75
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert found["top_5_accuracy"] == 1.0
    gates = {name: metrics.gate_value(found, name) for name in ("accuracy", "recall:a", "precision:b")}
    assert gates == {"accuracy": 0.75, "recall:a": 0.5, "precision:b": pytest.approx(2 / 3)}


def test_top_5_of_many_classes() -> None:
    probabilities = np.tile(np.linspace(1, 0, 9), (9, 1)) / 4.5
    assert metrics.measure(np.arange(9), probabilities, list("abcdefghi"))["top_5_accuracy"] == pytest.approx(5 / 9)


@pytest.mark.parametrize(("hits", "count"), [(1, 10), (8, 10), (315, 341), (999, 1000)])
def test_wilson_intervals(hits: int, count: int) -> None:
    """Each bound is 1.96 standard deviations, computed for that bound, away from the measured share."""
    for end, sign in zip(metrics.wilson_interval(hits, count), (1, -1), strict=True):
        assert hits / count - end == pytest.approx(sign * 1.959964 * np.sqrt(end * (1 - end) / count), abs=1e-9)
    assert metrics.wilson_interval(0, 10)[0] == pytest.approx(0)
    assert metrics.wilson_interval(10, 10)[1] == pytest.approx(1)


def test_calibration_of_a_case_done_by_hand() -> None:
    truth = np.zeros(4, int)
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    bins = metrics.reliability(truth, probabilities)
    assert [(n, b["count"]) for n, b in enumerate(bins) if b["count"]] == [(10, 1), (12, 1), (13, 2)]
    assert metrics.calibration_error(bins) == pytest.approx((2 * 0.1 + 0.8 + 0.7) / 4)


def test_the_temperature_makes_scores_say_how_often_they_are_right() -> None:
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 1.5, (20_000, 3))
    truth = np.array([chance.choice(3, p=row) for row in softmax(logits)])
    found = metrics.measure(truth, softmax(logits), LABELS, temperature=3.0)
    assert found["calibration_error"] < 0.015
    before = metrics.calibration_error(metrics.reliability(truth, softmax(logits * 3)))
    assert found["calibration_error_before"] == pytest.approx(before, abs=1e-6)
    assert before > 0.1


@pytest.mark.parametrize(
    ("fixed", "broken", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (10, 2, 0.0386), (3, 3, 1.0), (900, 1000, 0.0231)]
)
def test_mcnemar(fixed: int, broken: int, p: float) -> None:
    """The expected values were computed exactly, with ``math.comb``."""
    assert metrics.mcnemar(fixed, broken) == pytest.approx(p, abs=1e-4)


def test_two_models_are_compared_photo_by_photo() -> None:
    truth = np.array([0, 0, 1, 1, 2])
    found = metrics.compared(truth, np.array([0, 1, 1, 0, 2]), np.array([0, 0, 0, 1, 2]), LABELS)
    assert (found["accuracy_before"], found["accuracy"]) == (0.6, 0.8)
    assert (found["fixed"], found["broken"]) == (2, 1)
    assert found["per_class"] == {"a": {"fixed": 1, "broken": 0}, "b": {"fixed": 1, "broken": 1}}


def test_labels_that_are_equally_likely_are_ranked_in_order() -> None:
    probabilities = np.zeros((3, 9))
    probabilities[:, 0] = 1
    truth = np.array([0, 4, 8])
    assert metrics.rank_of_truth(truth, probabilities).tolist() == [0, 4, 8]
    found = metrics.measure(truth, probabilities, [str(n) for n in range(9)])
    assert found["top_5_accuracy"] == pytest.approx(2 / 3)


def test_the_calibration_of_few_photos_is_measured_on_those_that_the_temperature_has_not_seen() -> None:
    """On the photos that the temperature was fitted to, the calibration looks better than on new photos."""
    chance, seen, cross_fitted, fresh = np.random.default_rng(1), [], [], []
    for _ in range(60):
        logits = chance.normal(0, 1.5, (1_040, 3))
        truth = np.array([chance.choice(3, p=row) for row in softmax(logits)])
        temperature = metrics.fit_temperature(logits[:40], truth[:40])
        calibrated = softmax(logits / temperature)
        seen.append(metrics.log_loss(np.log(calibrated[:40]), truth[:40]))
        fresh.append(metrics.log_loss(np.log(calibrated[40:]), truth[40:]))
        cross = metrics.cross_fitted(softmax(logits[:40]), truth[:40])
        cross_fitted.append(metrics.log_loss(np.log(cross), truth[:40]))
    assert np.mean(seen) < np.mean(fresh) - 0.005
    assert np.mean(cross_fitted) == pytest.approx(np.mean(fresh), abs=2 * np.std(cross_fitted) / np.sqrt(60))
    found = metrics.measure(truth[:40], calibrated[:40], LABELS, temperature, calibrated_here=True)
    assert found["calibration_error"] == pytest.approx(
        metrics.calibration_error(metrics.reliability(truth[:40], cross))
    )


def test_the_epochs_around_the_best_tell_how_lucky_it_was() -> None:
    epochs = [{"val_accuracy": value} for value in (0.5, 0.915, 0.927, 0.909, 0.912, 0.8)]
    assert metrics.accuracy_around(epochs, 3) == (0.5, 0.915)
    assert metrics.accuracy_around(epochs, 5) == (0.8, 0.927)
    assert metrics.accuracy_around(epochs[:1], 1) is None


def test_a_model_that_always_gives_the_most_frequent_label_is_no_better_than_chance() -> None:
    truth = np.array([0] * 70 + [1] * 30)
    always = metrics.measure(truth, np.tile([0.7, 0.2, 0.1], (100, 1)), LABELS)
    assert always["baseline_accuracy"] == always["accuracy"] == 0.7
    assert metrics.is_chance(always)
    assert not metrics.is_chance(metrics.measure(truth, np.eye(3)[truth], LABELS))


def test_a_gate_about_a_class_without_photos_cannot_be_measured() -> None:
    found = metrics.measure(np.array([0, 1]), np.eye(3)[[0, 1]], LABELS)
    for name in ("macro_recall", "macro_f1", "recall:c", "precision:c"):
        with pytest.raises(ValueError, match="no photos of 'c'"):
            metrics.gate_value(found, name)
    assert metrics.gate_value(found, "accuracy") == metrics.gate_value(found, "recall:a") == 1
