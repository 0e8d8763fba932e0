"""Varied copies of photos: turned, zoomed, shifted, sheared, mirrored, in other light.

How a copy is varied depends on the seed, the number of the copy and the row of the photo only: not on the batch it is
in, the device it is made on, or an interruption. NumPy draws the variation; TensorFlow applies it, all moves as one
affine transform and all colours as one matrix, so that a photo is resampled once.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

_DRAWS = 9
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The strongest variations; each copy gets a part of each, drawn evenly from both directions.

    Attributes:
        flip: whether half of the copies are mirrored left to right.
        rotation: degrees.
        zoom: share of the side: 0.1 is from 1/1.1 to 1.1 times as large.
        shift: share of the side, along each axis.
        shear: degrees.
        color: share of brightness, contrast and saturation.
    """

    flip: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    color: float = 0.0

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))


DEFAULT = Augmentation(flip=True, rotation=10.0, zoom=0.15, shift=0.1, shear=5.0, color=0.15)


class Variation(NamedTuple):
    """How N images are varied.

    Attributes:
        moves: float32 [N, 8], what `tf.raw_ops.ImageProjectiveTransformV3` takes.
        colors: float32 [N, 3, 4], a matrix and an offset for pixels from 0 to 255.
    """

    moves: np.ndarray
    colors: np.ndarray


def draws(seed: int, copy: int, rows: int) -> np.ndarray:
    """The random numbers behind copy number `copy` of each of `rows` photos: float32 [rows, 9], from 0 to 1."""
    return np.random.default_rng((seed, copy)).random((rows, _DRAWS), np.float32)


def variation(augmentation: Augmentation, drawn: np.ndarray, size: int) -> Variation:
    """What to do with images of `size` pixels a side.

    Args:
        augmentation: the strongest variations.
        drawn: rows of what `draws` gave, [N, 9].
        size: of the images, in pixels.
    """
    even = 2.0 * drawn.astype(np.float64) - 1
    flip, angle, zoom, right, down, shear, brightness, contrast, saturation = even.T
    a = augmentation
    mirrored = np.where(flip < 0, -1.0, 1.0) if a.flip else np.ones_like(flip)
    angle, lean = np.radians(a.rotation) * angle, np.tan(np.radians(a.shear) * shear)
    scale = (1 + a.zoom) ** -zoom
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # Where a pixel of the copy comes from: mirrored, then sheared, turned and scaled around the middle, then shifted.
    x = (mirrored * cos, mirrored * (lean * cos - sin), right * a.shift * size)
    y = (sin, lean * sin + cos, down * a.shift * size)
    middle = (size - 1) / 2
    moves = [*x[:2], middle + x[2] - middle * (x[0] + x[1]), *y[:2], middle + y[2] - middle * (y[0] + y[1])]
    zeros = np.zeros_like(flip)
    gain, grey = 1 + a.color * contrast, 1 + a.color * saturation
    mix = grey[:, None, None] * np.eye(3) + (1 - grey)[:, None, None] * _LUMINANCE
    offset = 255 * a.color * brightness + 127.5 * (1 - gain)
    colors = np.concatenate([gain[:, None, None] * mix, np.tile(offset[:, None, None], (1, 3, 1))], axis=2)
    return Variation(
        np.stack([*moves, zeros, zeros], axis=1).astype(np.float32),
        colors.astype(np.float32),
    )
