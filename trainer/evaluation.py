"""Labels and probabilities to metrics. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

TEMPERATURES = (0.5, 10.0)


def metrics(truth: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Measures predictions against the truth.

    Args:
        truth: int [N], the index of the right label.
        probabilities: float [N, K].
        labels: the K class names.

    Returns:
        ``examples``, ``accuracy``, ``log_loss`` (natural logarithm, mean), ``per_class`` (label -> precision, recall,
        f1, support; precision is None for a class that was never predicted, recall for one without examples) and
        ``confusion`` (rows: truth, columns: predicted, [K][K] counts).
    """
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (truth, predicted), 1)
    of_truth = probabilities[np.arange(len(truth)), truth]
    return {
        "examples": len(truth),
        "accuracy": float((predicted == truth).mean()),
        "log_loss": float(-np.log(np.clip(of_truth, 1e-12, 1)).mean()),
        "per_class": {label: _class_metrics(confusion, index) for index, label in enumerate(labels)},
        "confusion": confusion.tolist(),
    }


def _class_metrics(confusion: np.ndarray, index: int) -> dict[str, float | int | None]:
    hits, support, predicted = (
        int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
    )
    return {
        "precision": hits / predicted if predicted else None,
        "recall": hits / support if support else None,
        "f1": 2 * hits / (support + predicted) if support + predicted else None,
        "support": support,
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits [N, K] to probabilities [N, K]."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that makes softmax(logits / temperature) the best calibrated: that of the least log loss.

    One parameter, found by golden-section search over its logarithm within `TEMPERATURES` (the loss is convex in its
    inverse). Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: float [N, K], of photos that were not trained on.
        truth: int [N].
    """

    def log_loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]).mean())

    ratio = (math.sqrt(5) - 1) / 2
    low, high = (math.log(bound) for bound in TEMPERATURES)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if log_loss(left) <= log_loss(right) else (left, high)
    return round(math.exp((low + high) / 2), 4)
