"""Varied copies of photos: mirrored, turned, zoomed, shifted, sheared, in other light.

How a copy is varied depends on the seed, the number of the copy and the row of the photo only: not on the batch it is
in, the device it is made on, or an interruption. NumPy draws the variation; TensorFlow applies it, all moves as one
affine transform and all colours as one matrix, so that a photo is resampled once.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

_DRAWS, _MORE_DRAWS = 9, 2
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
        vertical_flip: whether half of the copies are mirrored upside down.
        quarter_turns: whether copies are turned by 0, 90, 180 or 270 degrees, each as often.
    """

    flip: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    color: float = 0.0
    vertical_flip: bool = False
    quarter_turns: bool = False

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
    """The random numbers behind copy number `copy` of each of `rows` photos: float32 [rows, 11], from 0 to 1."""
    parts = ((seed, copy), _DRAWS), ((seed, copy, 1), _MORE_DRAWS)
    return np.concatenate(
        [np.random.default_rng(own).random((rows, count), np.float32) for own, count in parts], axis=1
    )


def variation(augmentation: Augmentation, drawn: np.ndarray, size: int) -> Variation:
    """What to do with images of `size` pixels a side.

    Args:
        augmentation: the strongest variations.
        drawn: rows of what `draws` gave, [N, 11].
        size: of the images, in pixels.
    """
    even = 2.0 * drawn[:, :_DRAWS].astype(np.float64) - 1
    flip, angle, zoom, right, down, shear, brightness, contrast, saturation = even.T
    a = augmentation
    mirrored = np.where(flip < 0, -1.0, 1.0) if a.flip else np.ones_like(flip)
    angle, lean = np.radians(a.rotation) * angle, np.tan(np.radians(a.shear) * shear)
    scale = (1 + a.zoom) ** -zoom
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # Where a pixel of the copy comes from: mirrored, then sheared, turned and scaled around the middle, then shifted.
    x = (mirrored * cos, mirrored * (lean * cos - sin), right * a.shift * size)
    y = (sin, lean * sin + cos, down * a.shift * size)
    x, y = _turned(a, drawn[:, _DRAWS:], x, y)
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


def _turned(
    augmentation: Augmentation, drawn: np.ndarray, x: tuple[Any, Any, Any], y: tuple[Any, Any, Any]
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Moves of copies that are first mirrored upside down and turned by quarters.

    Args:
        augmentation: the strongest variations.
        drawn: from 0 to 1, [N, 2].
        x, y: the moves without that: the factors of either coordinate, and the shift.
    """
    flip, turn = drawn.astype(np.float64).T
    quarters = np.floor(4 * turn) % 4 if augmentation.quarter_turns else np.zeros_like(turn)
    cos, sin = np.rint(np.cos(quarters * np.pi / 2)), np.rint(np.sin(quarters * np.pi / 2))
    down = np.where(flip < 0.5, -1.0, 1.0) if augmentation.vertical_flip else np.ones_like(flip)
    turned = [(row[0] * cos + row[1] * sin, down * (row[1] * cos - row[0] * sin), row[2]) for row in (x, y)]
    return turned[0], turned[1]
