"""What is to be learnt: inputs, truth, and which rows train and validate."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from trainer.fitting.inputs import Source


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Attributes:
        source: the inputs of N photos.
        truth: int [N], the index of the right label.
        classes: how many labels there are, K.
        training, validation, test: int, the rows to use for each.
        batch_size: rows to a step, on all devices together.
        seed: of the shuffling and the mixing.
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
        """How many there are in an epoch."""
        return math.ceil(len(self.training) / self.batch_size)

    def class_weights(self, kind: str) -> np.ndarray:
        """How much a photo of each class counts, float [K]; one on average."""
        if kind == "none":
            return np.ones(self.classes)
        counts = np.bincount(self.truth[self.training], minlength=self.classes)
        return len(self.training) / (self.classes * np.maximum(counts, 1))
