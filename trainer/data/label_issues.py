"""Label noise: photos whose label differs from the prediction of a model fitted to other photos.

A ridge regression on the features of a pretrained network is fitted to four fifths of the photos and scores the rest,
fold by fold; this takes a second. Measured on 3,409 photos of clothes with `MobileNetV2`, with 3 % of the labels
replaced at random and three seeds: 94, 91 and 92 % of the replaced labels are among the 6 % most suspicious photos.
Logistic regression finds as many (95, 91 and 92 %) and takes a minute. Photos are ranked by normalized margin; for a
comparison of rankings see Northcutt et al., Confident Learning, J. Artif. Intell. Res. 70 (2021).
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catalogue import storage
from catalogue.lists.cells import as_cell
from trainer.evaluation.metrics import fit_temperature, softmax

FILE = "label_issues.csv"
COLUMNS = ("uri", "label", "suggested", "confidence")
LEAST_PER_CLASS = 20
"""Minimum mean number of photos per class for which the regression is meaningful."""
_FOLDS, _RIDGE, _SHARPNESS = 5, 1.0, 20.0


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """Photos whose labels may be wrong, most suspicious first.

    Attributes:
        rows: int [M], row numbers among the N photos.
        suggested: int [M], indices of the suggested labels.
        confidence: float [M], probabilities of the suggested labels.
    """

    rows: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray


def find_label_issues(features: np.ndarray, truth: np.ndarray, classes: int) -> LabelIssues:
    """Find photos for which another label scores higher than their own.

    Args:
        features: float [N, D].
        truth: int [N], label index of each photo.
        classes: number of labels.
    """
    scores = _out_of_fold(np.asarray(features, np.float32), truth, classes)
    own = scores[np.arange(len(truth)), truth]
    others = scores.copy()
    others[np.arange(len(truth)), truth] = -np.inf
    suggested, margin = others.argmax(axis=1), own - others.max(axis=1)
    logits = _SHARPNESS * scores
    probabilities = softmax(logits / fit_temperature(logits, truth))
    rows = np.argsort(margin, kind="stable")
    rows = rows[margin[rows] < 0]
    return LabelIssues(rows, suggested[rows], probabilities[rows, suggested[rows]])


def _out_of_fold(features: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Return out-of-fold scores of each label for each photo, float32 [N, K]."""
    centered = features - features.mean(axis=0)
    centered /= max(float(centered.std(axis=0).mean()), 1e-12)
    targets = np.eye(classes, dtype=np.float32)[truth] - np.float32(1 / classes)
    folds = np.random.default_rng(0).permutation(len(truth)) % _FOLDS
    scores = np.zeros((len(truth), classes), np.float32)
    for fold in range(_FOLDS):
        inside, known = folds == fold, centered[folds != fold]
        ridge = _RIDGE * len(known) * np.eye(min(known.shape), dtype=np.float32)
        if known.shape[1] <= len(known):
            weights = np.linalg.solve(known.T @ known + ridge, known.T @ targets[folds != fold])
        else:  # the same solution with a smaller matrix
            weights = known.T @ np.linalg.solve(known @ known.T + ridge, targets[folds != fold])
        scores[inside] = centered[inside] @ weights
    return scores


def as_csv(issues: LabelIssues, uris: Sequence[str], truth: np.ndarray, labels: Sequence[str]) -> str:
    """Return the content of ``label_issues.csv``.

    Args:
        issues: label issues to list.
        uris: URIs of the N photos.
        truth: int [N], label index of each photo.
        labels: class names.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row, suggested, confidence in zip(issues.rows, issues.suggested, issues.confidence, strict=True):
        names = (as_cell(labels[number]) for number in (truth[row], suggested))  # escaped for spreadsheets
        writer.writerow([_as_cell(storage.absolute(uris[row])), *names, f"{confidence:.4f}"])
    return text.getvalue()


def _as_cell(location: str) -> str:
    """Return a location in the form that ``--drop`` reads.

    Cells are stripped there, so a path that begins or ends with whitespace is written as a file URI.
    """
    return location if location == location.strip() or storage.is_remote(location) else Path(location).as_uri()
