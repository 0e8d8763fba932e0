"""Labels and probabilities to metrics. NumPy only."""

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
    """Measures predictions against the truth.

    Args:
        truth: int [N], the index of the right label.
        probabilities: float [N, K].
        labels: the K class names.
        temperature: what the logits were divided by; without it the calibration before is that after.
        calibrated_here: whether the temperature was fitted to these very photos; then the calibration is measured with
            others, see `cross_fitted`.

    Returns:
        ``examples``, ``accuracy`` and its 95 % ``accuracy_interval`` (Wilson), ``baseline_accuracy`` (of the most
        frequent label as the answer to every photo), ``top_5_accuracy`` (K classes if there are fewer),
        ``macro_recall`` and ``macro_f1`` (means over the classes that have examples), ``log_loss`` (natural logarithm,
        mean), ``calibration_error`` and ``calibration_error_before`` (see `calibration_error`; before the
        temperature), ``reliability`` (see `reliability`), ``per_class`` (label -> precision, recall, f1, support;
        precision is None for a class that was never predicted, recall for one without examples) and ``confusion``
        (``truth``, ``predicted`` and ``count`` of each pair of labels that came up, the most frequent first).
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
    """How many labels come before the right one, best first, in the order of the labels where equal. Int [N]."""
    of_truth = probabilities[np.arange(len(truth)), truth][:, np.newaxis]
    earlier = np.arange(probabilities.shape[1]) < truth[:, np.newaxis]
    return ((probabilities > of_truth) | ((probabilities == of_truth) & earlier)).sum(axis=1)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share. Wilson, J. Am. Stat. Assoc. 22 (1927)."""
    z = 1.959964
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def heated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities [N, K] that the logits behind some give before they are divided by a temperature."""
    return softmax(temperature * np.log(np.clip(probabilities, 1e-30, 1)))


def cross_fitted(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Probabilities calibrated as those of photos that the temperature has not seen.

    Each fifth of the photos gets the temperature that fits the other four fifths.

    Args:
        probabilities: float [N, K], not calibrated.
        truth: int [N], the index of the right label.
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
    """Whether the accuracy may as well be that of always giving the most frequent label: the interval includes it."""
    return metrics["accuracy_interval"][0] <= metrics["baseline_accuracy"]


def accuracy_around(epochs: Sequence[dict[str, float]], best_epoch: int, reach: int = 2) -> tuple[float, float] | None:
    """The least and the highest validation accuracy of the epochs around the best one, without that one itself.

    The best of several epochs is the luckiest, too: a model that is trained again is rather like its neighbours.

    Args:
        epochs: of the fitting, see `trainer.fitting.loop.Fitted`.
        best_epoch: counted from one.
        reach: how many epochs before and after.

    Returns:
        None if there are none.
    """
    near = [
        epoch["val_accuracy"]
        for number, epoch in enumerate(epochs, 1)
        if number != best_epoch and abs(number - best_epoch) <= reach
    ]
    return (min(near), max(near)) if near else None


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float | int | None]]:
    """How often the best label is right where its score says so.

    Returns:
        For each of `RELIABILITY_BINS` equal ranges of the score, from 0 to 1: ``count``, mean ``score`` and
        ``accuracy``, None where there is no photo.
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
    """The mean distance of score and accuracy over the bins of `reliability`, each weighted by its count.

    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["score"] - b["accuracy"]) for b in bins if b["count"]) / total


def mcnemar(fixed: int, broken: int) -> float:
    """The probability that two equally good models differ as much: McNemar's test, exact, two-sided.

    Args:
        fixed, broken: photos that only the one, only the other model gets right.
    """
    count, fewer = fixed + broken, min(fixed, broken)
    if not count:
        return 1.0
    logs = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * sum(math.exp(log - count * math.log(2)) for log in logs))


def compared(truth: np.ndarray, old: np.ndarray, new: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Compares what two models say of the same photos.

    Args:
        truth, old, new: int [N], indices of labels: the right one and those of either model.
        labels: the class names.

    Returns:
        ``accuracy_before``, ``accuracy``, ``fixed`` and ``broken`` (photos only the new, only the old model gets
        right), ``p_value`` (see `mcnemar`) and ``per_class`` (label -> fixed, broken; classes with either only).
    """
    was, now = old == truth, new == truth
    fixed, broken = ~was & now, was & ~now
    flips = {}
    for index, label in enumerate(labels):
        counts = int((fixed & (truth == index)).sum()), int((broken & (truth == index)).sum())
        if any(counts):
            flips[label] = {"fixed": counts[0], "broken": counts[1]}
    return {
        "accuracy_before": float(was.mean()),
        "accuracy": float(now.mean()),
        "fixed": int(fixed.sum()),
        "broken": int(broken.sum()),
        "p_value": mcnemar(int(fixed.sum()), int(broken.sum())),
        "per_class": flips,
    }


def gate_value(metrics: dict[str, Any], name: str) -> float:
    """The value of a metric that is the better the higher.

    Args:
        metrics: what `measure` gave.
        name: one of `GATES`, or one of `CLASS_GATES` of a class, as in ``recall:LABEL``.

    Raises:
        ValueError: it says nothing, since a class that it is about has no photos.
    """
    kind, _, label = name.partition(":")
    concerned = metrics["per_class"] if name in MACRO_GATES else {label} if label else ()
    without = [repr(one) for one in concerned if not metrics["per_class"][one]["support"]]
    if without:
        raise ValueError(f"there are no photos of {', '.join(without)}")
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
    """Logits [N, K] to probabilities [N, K]."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """The mean negative natural logarithm of the probability of the right label.

    Args:
        logits: float [N, K].
        truth: int [N].
    """
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]).mean())


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that makes softmax(logits / temperature) the best calibrated: that of the least log loss.

    One parameter, found by golden-section search over its logarithm within `TEMPERATURES` (the loss is convex in its
    inverse). Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: float [N, K], of photos that were not trained on.
        truth: int [N].
    """

    def loss(log_temperature: float) -> float:
        return log_loss(logits / math.exp(log_temperature), truth)

    ratio = (math.sqrt(5) - 1) / 2
    low, high = (math.log(bound) for bound in TEMPERATURES)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return round(math.exp((low + high) / 2), 4)
