"""Application of augmentation to images, on the device."""

from __future__ import annotations

import tensorflow as tf


def apply(images: tf.Tensor, moves: tf.Tensor, colors: tf.Tensor) -> tf.Tensor:
    """Augment images with bilinear interpolation and edge padding. All views of an image get the same variation.

    Args:
        images: uint8 [N, H, W, 3].
        moves, colors: parameters of a `Variation`.

    Returns:
        uint8 [N, H, W, 3].
    """
    _, height, side, channels = images.shape
    views = height // side  # stacked vertically
    if views > 1:
        of_views = tf.reshape(images, (-1, side, side, channels))
        varied = apply(of_views, tf.repeat(moves, views, axis=0), tf.repeat(colors, views, axis=0))
        return tf.reshape(varied, (-1, height, side, channels))
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=moves,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    pixels = tf.einsum("nhwc,ndc->nhwd", moved, colors[:, :, :3]) + colors[:, tf.newaxis, tf.newaxis, :, 3]
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
