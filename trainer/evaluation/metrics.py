"""Metrics from labels and probabilities. Needs only NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

TEMPERATURES = (0.5, 10.0)
FOLDS = 5
RELIABILITY_BINS = 15
MACRO_GATES = ("macro_recall", "macro_f1")
GATES = ("accuracy", "top_5_accuracy", *MACRO_GATES)
CLASS_GATES = ("recall", "precision", "f1")


def measure(
    truth: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    temperature: float = 1.0,
    *,
    calibrated_here: bool = False,
) -> dict[str, Any]:
    """Measure predictions against the truth.

    Args:
        truth: int [N], indices of the true labels.
        probabilities: float [N, K].
        labels: the K class names.
        temperature: temperature that the logits were divided by; 1 if they are not calibrated.
        calibrated_here: whether the temperature was fitted to these photos; then the calibration is measured with
            cross-fitted temperatures, see `cross_fitted`.

    Returns:
        ``examples``, ``accuracy`` and its 95 % ``accuracy_interval`` (Wilson), ``baseline_accuracy`` (of always
        predicting the most frequent label), ``top_5_accuracy`` (top K if there are fewer classes), ``macro_recall``
        and ``macro_f1`` (means over the classes that have examples), ``log_loss`` (mean, natural logarithm),
        ``calibration_error`` and ``calibration_error_before`` (after and before temperature scaling, see
        `calibration_error`), ``reliability`` (see `reliability`), ``per_class`` (label -> precision, recall, f1,
        support; precision is None for a class that was never predicted, recall for a class without examples, and f1 for
        a class that is both) and ``confusion`` (``truth``, ``predicted`` and ``count`` of each pair of labels that
        occurs, most frequent first).
    """
    uncalibrated = heated(probabilities, temperature)
    predicted = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(truth)), truth]
    hits = int((predicted == truth).sum())
    per_class = _per_class(truth, predicted, labels)
    present = [values for values in per_class.values() if values["support"]]
    bins = reliability(truth, cross_fitted(uncalibrated, truth) if calibrated_here else probabilities)
    return {
        "examples": len(truth),
        "accuracy": hits / len(truth),
        "accuracy_interval": list(wilson_interval(hits, len(truth))),
        "baseline_accuracy": int(np.bincount(truth).max()) / len(truth),
        "top_5_accuracy": float((rank_of_truth(truth, probabilities) < 5).mean()),
        "macro_recall": float(np.mean([values["recall"] for values in present])),
        "macro_f1": float(np.mean([values["f1"] for values in present])),
        "log_loss": float(-np.log(np.clip(of_truth, 1e-12, 1)).mean()),
        "calibration_error": calibration_error(bins),
        "calibration_error_before": calibration_error(reliability(truth, uncalibrated)),
        "reliability": bins,
        "per_class": per_class,
        "confusion": _confusion(truth, predicted, labels),
    }


def rank_of_truth(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return how many labels rank above the true one, int [N]; ties are broken by label order."""
    of_truth = probabilities[np.arange(len(truth)), truth][:, np.newaxis]
    earlier = np.arange(probabilities.shape[1]) < truth[:, np.newaxis]
    return ((probabilities > of_truth) | ((probabilities == of_truth) & earlier)).sum(axis=1)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion. Wilson, J. Am. Stat. Assoc. 22 (1927)."""
    z = 1.959964
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def heated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Undo temperature scaling: return the probabilities [N, K] of the logits before division by the temperature."""
    return softmax(temperature * np.log(np.clip(probabilities, 1e-30, 1)))


def cross_fitted(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Calibrate probabilities by cross-fitting, so that no temperature is applied to photos it was fitted to.

    Each fifth of the photos is scaled with a temperature fitted to the other four fifths.

    Args:
        probabilities: float [N, K], uncalibrated.
        truth: int [N], indices of the true labels.
    """
    logits = np.log(np.clip(probabilities, 1e-30, 1))
    folds = np.random.default_rng(0).permutation(len(truth)) % FOLDS
    calibrated = np.array(probabilities)
    for fold in range(FOLDS):
        inside, outside = folds == fold, folds != fold
        if outside.any():
            calibrated[inside] = softmax(logits[inside] / fit_temperature(logits[outside], truth[outside]))
    return calibrated


def is_chance(metrics: dict[str, Any]) -> bool:
    """Return whether the accuracy interval includes the baseline accuracy, or lies below it."""
    return metrics["accuracy_interval"][0] <= metrics["baseline_accuracy"]


def accuracy_around(epochs: Sequence[dict[str, float]], best_epoch: int, reach: int = 2) -> tuple[float, float] | None:
    """Return the lowest and highest validation accuracy of the epochs around the best one, excluding the best.

    The best epoch is partly luck: a model that is trained again usually has an accuracy like the epochs around it.

    Args:
        epochs: metrics of each epoch, see `trainer.fitting.loop.Fitted`.
        best_epoch: number of the best epoch, from one.
        reach: number of epochs on each side of the best one.

    Returns:
        (lowest, highest); None if only one epoch was run.
    """
    near = [
        epoch["val_accuracy"]
        for number, epoch in enumerate(epochs, 1)
        if number != best_epoch and abs(number - best_epoch) <= reach
    ]
    return (min(near), max(near)) if near else None


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float | int | None]]:
    """Return the bins of a reliability diagram: accuracy by the score of the best label.

    Returns:
        ``count``, mean ``score`` and ``accuracy`` of each of `RELIABILITY_BINS` equal score ranges from 0 to 1. Score
        and accuracy are None in empty bins.
    """
    score, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.minimum((score * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    bins: list[dict[str, float | int | None]] = []
    for number in range(RELIABILITY_BINS):
        here = place == number
        count = int(here.sum())
        mean, accuracy = (float(score[here].mean()), float(right[here].mean())) if count else (None, None)
        bins.append({"count": count, "score": mean, "accuracy": accuracy})
    return bins


def calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """Return the expected calibration error: the mean gap of score and accuracy over bins, weighted by count.

    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["score"] - b["accuracy"]) for b in bins if b["count"]) / total


def mcnemar(fixed: int, broken: int) -> float:
    """Return the p-value of McNemar's exact, two-sided test.

    Args:
        fixed: number of photos that only the new model gets right.
        broken: number of photos that only the old model gets right.
    """
    count, fewer = fixed + broken, min(fixed, broken)
    if not count:
        return 1.0
    logs = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * sum(math.exp(log - count * math.log(2)) for log in logs))


def compared(truth: np.ndarray, old: np.ndarray, new: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Compare the predictions of two models for the same photos.

    Args:
        truth, old, new: int [N], indices of the true labels and of the labels each model predicts.
        labels: class names.

    Returns:
        ``examples`` (number of photos), ``accuracy_before``, ``accuracy``, ``fixed`` (number of photos that only
        the new model gets right), ``broken`` (number of photos that only the old model gets right), ``p_value`` (see
        `mcnemar`) and ``per_class`` (label -> fixed, broken; without classes where both are 0).
    """
    was, now = old == truth, new == truth
    fixed, broken = ~was & now, was & ~now
    flips = {}
    for index, label in enumerate(labels):
        counts = int((fixed & (truth == index)).sum()), int((broken & (truth == index)).sum())
        if any(counts):
            flips[label] = {"fixed": counts[0], "broken": counts[1]}
    return {
        "examples": len(truth),
        "accuracy_before": float(was.mean()),
        "accuracy": float(now.mean()),
        "fixed": int(fixed.sum()),
        "broken": int(broken.sum()),
        "p_value": mcnemar(int(fixed.sum()), int(broken.sum())),
        "per_class": flips,
    }


def gate_value(metrics: dict[str, Any], name: str) -> float:
    """Return the value of a metric for which higher is better.

    Args:
        metrics: metrics from `measure`.
        name: one of `GATES`, or one of `CLASS_GATES` for a class, as in ``recall:LABEL``.

    Raises:
        ValueError: the metric is undefined, since a class that it covers has no photos.
    """
    kind, _, label = name.partition(":")
    concerned = metrics["per_class"] if name in MACRO_GATES else {label} if label else ()
    without = [repr(one) for one in concerned if not metrics["per_class"][one]["support"]]
    if without:
        raise ValueError(f"no photos of {', '.join(without)}")
    return metrics[name] if name in GATES else metrics["per_class"][label][kind] or 0.0


def _per_class(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    count = len(labels)
    hits = np.bincount(truth[truth == predicted], minlength=count).tolist()
    support, said = (np.bincount(side, minlength=count).tolist() for side in (truth, predicted))
    return {
        label: {
            "precision": hits[n] / said[n] if said[n] else None,
            "recall": hits[n] / support[n] if support[n] else None,
            "f1": 2 * hits[n] / (support[n] + said[n]) if support[n] + said[n] else None,
            "support": support[n],
        }
        for n, label in enumerate(labels)
    }


def _confusion(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> list[dict[str, str | int]]:
    pairs, counts = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable").tolist()
    return [{"truth": labels[pairs[0, n]], "predicted": labels[pairs[1, n]], "count": int(counts[n])} for n in order]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Convert logits [N, K] to probabilities [N, K]."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean negative natural logarithm of the probability of the true label.

    Args:
        logits: float [N, K].
        truth: int [N].
    """
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]).mean())


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature that minimizes the log loss of softmax(logits / temperature).

    A golden-section search over the logarithm of the temperature, within `TEMPERATURES`, finds the minimum, since the
    loss is convex in the inverse temperature.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: float [N, K], logits of photos that were not trained on.
        truth: int [N], indices of the true labels.
    """

    def loss(log_temperature: float) -> float:
        return log_loss(logits / math.exp(log_temperature), truth)

    ratio = (math.sqrt(5) - 1) / 2
    low, high = (math.log(bound) for bound in TEMPERATURES)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return round(math.exp((low + high) / 2), 4)
