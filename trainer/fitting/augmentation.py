"""Data augmentation of photos: flips, rotation, zoom, shifts, shear and color jitter.

With given settings, the variation of a copy depends only on the seed, the copy number and the row of the photo, not on
the batch, the device or an interruption. NumPy draws the parameters. TensorFlow applies all geometric changes as one
affine transform, so each photo is resampled once, and all color changes as one matrix and offset.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

_DRAWS, _MORE_DRAWS = 9, 2
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Maximum strength of each variation; each copy draws its own strength uniformly, in either direction.

    Attributes:
        flip: whether to mirror copies left to right, with probability 0.5.
        rotation: maximum rotation, in degrees.
        zoom: maximum zoom; 0.1 means a scale from 1/1.1 to 1.1, uniform in its logarithm.
        shift: maximum shift along each axis, as a share of the side.
        shear: maximum shear, in degrees.
        color: maximum change of brightness, contrast and saturation; 0.1 means up to 10 %.
        vertical_flip: whether to mirror copies upside down, with probability 0.5.
        quarter_turns: whether to rotate copies by 0, 90, 180 or 270 degrees, with equal probability.
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
    """Variation parameters of N images.

    Attributes:
        moves: float32 [N, 8], transforms for `tf.raw_ops.ImageProjectiveTransformV3`.
        colors: float32 [N, 3, 4], a color matrix and an offset for pixel values from 0 to 255.
    """

    moves: np.ndarray
    colors: np.ndarray


def draws(seed: int, copy: int, rows: int) -> np.ndarray:
    """Return the random numbers for copy number `copy` of `rows` photos: float32 [rows, 11], from 0 to 1."""
    parts = ((seed, copy), _DRAWS), ((seed, copy, 1), _MORE_DRAWS)
    return np.concatenate(
        [np.random.default_rng(own).random((rows, count), np.float32) for own, count in parts], axis=1
    )


def variation(augmentation: Augmentation, drawn: np.ndarray, size: int) -> Variation:
    """Compute the variations of N square images.

    Args:
        augmentation: maximum strength of each variation.
        drawn: rows of random numbers from `draws`, [N, 11].
        size: side of the images, in pixels.
    """
    even = 2.0 * drawn[:, :_DRAWS].astype(np.float64) - 1
    flip, angle, zoom, right, down, shear, brightness, contrast, saturation = even.T
    a = augmentation
    mirrored = np.where(flip < 0, -1.0, 1.0) if a.flip else np.ones_like(flip)
    angle, lean = np.radians(a.rotation) * angle, np.tan(np.radians(a.shear) * shear)
    scale = (1 + a.zoom) ** -zoom
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # Maps a pixel of the copy to its source: shear, rotate and scale around the center, then mirror, then shift.
    x = (mirrored * cos, mirrored * (lean * cos - sin), right * a.shift * size)
    y = (sin, lean * sin + cos, down * a.shift * size)
    x, y = _turned(a, drawn[:, _DRAWS:], x, y)
    middle = (size - 1) / 2
    moves = [*x[:2], middle + x[2] - middle * (x[0] + x[1]), *y[:2], middle + y[2] - middle * (y[0] + y[1])]
    zeros = np.zeros_like(flip)
    gain, gray = 1 + a.color * contrast, 1 + a.color * saturation
    mix = gray[:, None, None] * np.eye(3) + (1 - gray)[:, None, None] * _LUMINANCE
    offset = 255 * a.color * brightness + 127.5 * (1 - gain)
    colors = np.concatenate([gain[:, None, None] * mix, np.tile(offset[:, None, None], (1, 3, 1))], axis=2)
    return Variation(
        np.stack([*moves, zeros, zeros], axis=1).astype(np.float32),
        colors.astype(np.float32),
    )


def _turned(
    augmentation: Augmentation, drawn: np.ndarray, x: tuple[Any, Any, Any], y: tuple[Any, Any, Any]
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Prepend the upside-down flip and the quarter turn to the map from a pixel of the copy to its source.

    Args:
        augmentation: maximum strength of each variation.
        drawn: random numbers from 0 to 1, [N, 2].
        x, y: rows of the map so far: the factors of both coordinates, and the shift.
    """
    flip, turn = drawn.astype(np.float64).T
    quarters = np.floor(4 * turn) % 4 if augmentation.quarter_turns else np.zeros_like(turn)
    cos, sin = np.rint(np.cos(quarters * np.pi / 2)), np.rint(np.sin(quarters * np.pi / 2))
    down = np.where(flip < 0.5, -1.0, 1.0) if augmentation.vertical_flip else np.ones_like(flip)
    turned = [(row[0] * cos + row[1] * sin, down * (row[1] * cos - row[0] * sin), row[2]) for row in (x, y)]
    return turned[0], turned[1]
