"""Inputs of the fitted layers: stored activations, or images that are augmented in each epoch."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.fitting import augmentation, warping
from trainer.fitting.augmentation import Augmentation


class Source(Protocol):
    """Source of the inputs of a network."""

    def training(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """Return the training data of `rows` in an epoch: arrays [M, ...]."""

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """Return the data of `rows` without augmentation, for validation."""

    def inputs(self, *parts: tf.Tensor) -> tf.Tensor:
        """Convert the arrays of `training` or `plain` to network inputs, on the device."""


@dataclasses.dataclass(frozen=True)
class Activations:
    """Inputs computed by the frozen layers.

    Attributes:
        values: activations of the photos, [N, ...].
        copies: activations of augmented copies, [C, T, ...]; an epoch uses one copy or the original of each photo.
        rows: int [T], the rows of `values` that the copies belong to, in ascending order.
        seed: seed of the choice among the copies.
    """

    values: np.ndarray
    copies: np.ndarray | None = None
    rows: np.ndarray | None = None
    seed: int = 0

    def training(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """See `Source`."""
        values = self.values[rows]
        if self.copies is None or self.rows is None:
            return (values,)
        kinds = len(self.copies) + 1
        first = np.random.default_rng((self.seed, kinds)).integers(0, kinds, len(self.values))
        chosen = (first[rows] + epoch) % kinds
        place = np.searchsorted(self.rows, rows)
        for n in np.flatnonzero(chosen):
            values[n] = self.copies[chosen[n] - 1, place[n]]
        return (values,)

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """See `Source`."""
        return self.values[rows]

    def inputs(self, *parts: tf.Tensor) -> tf.Tensor:
        """See `Source`."""
        return tf.cast(parts[0], tf.float32)


@dataclasses.dataclass(frozen=True)
class Images:
    """Images as inputs, uint8 [N, H, W, 3]; every epoch draws new augmented copies."""

    values: np.ndarray
    varied: Augmentation
    seed: int = 0

    def training(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """See `Source`."""
        if not self.varied:
            return (self.values[rows],)
        drawn = augmentation.draws(self.seed, epoch, len(self.values))[rows]
        return (self.values[rows], *augmentation.variation(self.varied, drawn, self.values.shape[2]))

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """See `Source`."""
        return self.values[rows]

    def inputs(self, *parts: tf.Tensor) -> tf.Tensor:
        """See `Source`."""
        return warping.apply(*parts) if len(parts) > 1 else parts[0]
