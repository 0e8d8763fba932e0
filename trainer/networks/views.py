"""Views of one photo, such as a center crop and the whole photo; the network's features of all views are averaged.

An image stacks its V views vertically, [N, V · H, ...]. The network processes the views as separate images,
[N · V, H, ...].
"""

from __future__ import annotations

import keras


def apart(x: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Split images [N, count · H, ...] into views [N · count, H, ...]."""
    return x if count == 1 else keras.ops.reshape(x, (-1, x.shape[1] // count, *x.shape[2:]))


def together(x: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Join views [N · count, H, ...] to images [N, count · H, ...], the inverse of `apart`."""
    return x if count == 1 else keras.ops.reshape(x, (-1, x.shape[1] * count, *x.shape[2:]))


def averaged(features: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Average the features of views [N · count, D] over the views of each image, [N, D]."""
    return features if count == 1 else keras.ops.mean(keras.ops.reshape(features, (-1, count, features.shape[1])), 1)


def count_of(model: keras.Model) -> int:
    """Return the number of views per image of a network whose input is uint8 [N, H, W, 3]."""
    return model.input_shape[1] // model.input_shape[2]
