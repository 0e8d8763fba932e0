"""Training task: inputs, true labels, and the rows of each split."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from trainer.fitting.inputs import Source


@dataclasses.dataclass(frozen=True)
class Task:
    """Data that a network is fitted to.

    Attributes:
        source: inputs of N photos.
        truth: int [N], indices of the true labels.
        classes: number of classes, K.
        training, validation, test: int, rows of each split.
        batch_size: rows per step, on all devices together.
        seed: seed of the shuffling and of mixup.
    """

    source: Source
    truth: np.ndarray
    classes: int
    training: np.ndarray
    validation: np.ndarray
    batch_size: int
    seed: int
    test: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, int))

    @property
    def steps(self) -> int:
        """Number of steps in an epoch."""
        return math.ceil(len(self.training) / self.batch_size)

    def class_weights(self, kind: str) -> np.ndarray:
        """Return the weight of each class's photos, float [K]; the average over the training photos is one."""
        if kind == "none":
            return np.ones(self.classes)
        counts = np.bincount(self.truth[self.training], minlength=self.classes)
        return len(self.training) / (self.classes * np.maximum(counts, 1))
