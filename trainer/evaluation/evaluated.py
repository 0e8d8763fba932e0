"""Predictions of a model for labeled photos, for reports and model directories."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Predictions of a model for N photos.

    Attributes:
        subject: description of the photos, for the report.
        uris: URIs of the photos.
        truth: int [N], index of the true label; -1 for all photos if they are unlabeled.
        probabilities: float [N, K].
        unreadable: number of photos that could not be read.
    """

    subject: str
    uris: Sequence[str]
    truth: np.ndarray
    probabilities: np.ndarray
    unreadable: int

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """Index of the best label, int [N]."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def most_wrong(self) -> np.ndarray:
        """Rows with a wrong prediction, most confident first."""
        score = self.probabilities.max(axis=1)
        wrong = np.flatnonzero(self.predicted != self.truth)
        return wrong[np.argsort(-score[wrong], kind="stable")]

    @functools.cached_property
    def least_certain(self) -> np.ndarray:
        """All rows, lowest score first."""
        return np.argsort(self.probabilities.max(axis=1), kind="stable")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Comparison of the evaluated model with another model on the same photos.

    Attributes:
        before: id of the other model.
        result: result of `trainer.evaluation.metrics.compared`.
        old: int [N], index of the other model's best label; -1 if the evaluated model does not have that label, or the
            other model could not read the photo.
        fixed: bool [N], photos that only the evaluated model gets right.
        broken: bool [N], photos that only the other model gets right. Photos that the other model could not read are
            neither fixed nor broken.
    """

    before: str
    result: dict[str, Any]
    old: np.ndarray
    fixed: np.ndarray
    broken: np.ndarray
