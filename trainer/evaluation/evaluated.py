"""Predictions of a model for labelled photos, as reports and model directories take them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What a model said of labelled photos.

    Attributes:
        subject: which photos, for the reader.
        uris: of the N photos.
        truth: int [N]; -1 where it is not known, of all of them or none.
        probabilities: float [N, K].
        unreadable: how many photos more there would have been.
    """

    subject: str
    uris: Sequence[str]
    truth: np.ndarray
    probabilities: np.ndarray
    unreadable: int

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The index of the best label, int [N]."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def most_wrong(self) -> np.ndarray:
        """The rows that are wrong, the surest first."""
        score = self.probabilities.max(axis=1)
        wrong = np.flatnonzero(self.predicted != self.truth)
        return wrong[np.argsort(-score[wrong], kind="stable")]

    @functools.cached_property
    def least_sure(self) -> np.ndarray:
        """All rows, the one with the lowest score first."""
        return np.argsort(self.probabilities.max(axis=1), kind="stable")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What another model said of the same photos.

    Attributes:
        before: its id.
        result: what `trainer.evaluation.metrics.compared` gave.
        old: int [N], the index of its best label; -1 for a label that the model of the page does not know.
    """

    before: str
    result: dict[str, Any]
    old: np.ndarray
