"""Export of a model as a SavedModel with two signatures, frozen variables and folded batch norm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from catalogue.images.spec import ImageSpec

if TYPE_CHECKING:
    from catalogue.model_dir.info import ModelInfo
from catalogue.model_dir.graph import folded


def export(model: keras.Model, info: ModelInfo, folder: Path) -> None:
    """Save a model as a SavedModel with the signatures ``serving_default`` and ``serve_bytes``."""
    shape = info.image.shape
    k = min(len(info.labels), 5)
    images = tf.TensorSpec((None, *shape), tf.uint8, name="images")
    data = tf.TensorSpec((None,), tf.string, name="data")
    network = tf.function(lambda images: model(images, training=False), input_signature=[images])
    probabilities = folded(network.get_concrete_function())

    @tf.function(input_signature=[images])
    def images_to_probabilities(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": probabilities(images)[0]}

    @tf.function(input_signature=[data])
    def bytes_to_labels(data: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            lambda one: decoded(one, info.image), data, fn_output_signature=tf.TensorSpec(shape, tf.uint8)
        )
        scores, indices = tf.math.top_k(probabilities(images)[0], k)
        return {"labels": tf.gather(tf.constant(list(info.labels)), indices), "scores": scores}

    signatures = {"serving_default": images_to_probabilities, "serve_bytes": bytes_to_labels}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def decoded(data: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Decode an image file for ``serve_bytes`` with TensorFlow's own operations: string [] -> uint8 [H, W, 3]."""
    image = tf.cast(tf.io.decode_image(data, channels=3, expand_animations=False), tf.float32)
    return tf.concat([_view(image, view, spec.size) for view in spec.views], axis=0)


def _view(image: tf.Tensor, rule: str, side: int) -> tf.Tensor:
    """Resize an image, float32 [h, w, 3], to a square by one of `RESIZE_RULES`: uint8 [side, side, 3]."""
    if rule == "crop":
        shorter = tf.reduce_min(tf.shape(image)[:2])
        image = tf.image.resize_with_crop_or_pad(image, shorter, shorter)
    if rule == "pad":  # inverted, since TensorFlow pads with zeros, and the bars must be white (255)
        image = 255 - tf.image.resize_with_pad(255 - image, side, side, antialias=True)
    else:
        image = tf.image.resize(image, (side, side), antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
