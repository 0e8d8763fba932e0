"""Views of one picture, such as its middle and the whole of it: a network sees each, and their features are averaged.

An image holds its V views one below the other, [N, V · H, ...]. A network runs on them as on pictures of their own,
[N · V, H, ...].
"""

from __future__ import annotations

import keras


def apart(x: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Pictures [N, count · H, ...] to views [N · count, H, ...]."""
    return x if count == 1 else keras.ops.reshape(x, (-1, x.shape[1] // count, *x.shape[2:]))


def together(x: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """The inverse of `apart`: views [N · count, H, ...] to pictures [N, count · H, ...]."""
    return x if count == 1 else keras.ops.reshape(x, (-1, x.shape[1] * count, *x.shape[2:]))


def averaged(features: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Features of views [N · count, D] to the means of those of each picture, [N, D]."""
    return features if count == 1 else keras.ops.mean(keras.ops.reshape(features, (-1, count, features.shape[1])), 1)


def count_of(model: keras.Model) -> int:
    """How many views the images of a network hold, which takes uint8 [N, H, W, 3]."""
    return model.input_shape[1] // model.input_shape[2]
