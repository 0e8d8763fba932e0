"""The SavedModel of a model directory: its signatures, and what of a network is made constant for them.

In what is written the variables have become constants and batch normalisation part of the convolutions, see
`catalogue.model_dir.graph`. So it loads in a third of the time, and whatever runs it puts the offset and the
activation after a
convolution into it, too. Who wants to train it further takes ``model.keras``, which is beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogue.images.reader import ImageSpec
from catalogue.model_dir import graph

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from catalogue.model_dir.directory import ModelInfo


class SavedModel:
    """The network of a model directory, loaded: uint8 [N, H, W, 3] to probabilities. Safe to call from several threads.

    Args:
        path: the local model directory.
        config, in_bfloat16: see `catalogue.model_dir.graph.in_session`.
    """

    def __init__(self, path: str | os.PathLike[str], config: Any = None, *, in_bfloat16: bool = False) -> None:
        import tensorflow as tf

        function = graph.constant(tf.saved_model.load(str(path)).signatures["serving_default"])
        self._run = graph.in_session(function, config, in_bfloat16=in_bfloat16)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K]."""
        return self._run(images)[0]


def folded(function: Any) -> Callable[..., list[tf.Tensor]]:
    """A concrete function with its variables as constants, from which TensorFlow makes fewer operations.

    It gives a list of tensors. Later changes of the variables do not reach it.
    """
    import tensorflow as tf

    merged = graph.merged(graph.constant(function))
    return lambda *arguments: tf.nest.flatten(merged(*map(tf.convert_to_tensor, arguments)))


def export(model: keras.Model, info: ModelInfo, folder: Path) -> None:
    """Saves the network as a SavedModel with both signatures."""
    import tensorflow as tf

    size = info.image.size
    k = min(len(info.labels), 5)
    images = tf.TensorSpec((None, size, size, 3), tf.uint8, name="images")
    data = tf.TensorSpec((None,), tf.string, name="data")
    network = tf.function(lambda images: model(images, training=False), input_signature=[images])
    probabilities = folded(network.get_concrete_function())

    @tf.function(input_signature=[images])
    def images_to_probabilities(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": probabilities(images)[0]}

    @tf.function(input_signature=[data])
    def bytes_to_labels(data: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            lambda one: decoded(one, info.image), data, fn_output_signature=tf.TensorSpec((size, size, 3), tf.uint8)
        )
        scores, indices = tf.math.top_k(probabilities(images)[0], k)
        return {"labels": tf.gather(tf.constant(list(info.labels)), indices), "scores": scores}

    signatures = {"serving_default": images_to_probabilities, "serve_bytes": bytes_to_labels}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def decoded(data: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """An image file as ``serve_bytes`` decodes it, with TensorFlow's own operations: string [] -> uint8 [H, W, 3]."""
    import tensorflow as tf

    image = tf.cast(tf.io.decode_image(data, channels=3, expand_animations=False), tf.float32)
    if spec.resize == "crop":
        shorter = tf.reduce_min(tf.shape(image)[:2])
        image = tf.image.resize_with_crop_or_pad(image, shorter, shorter)
    if spec.resize == "pad":  # with white, which is 255
        image = 255 - tf.image.resize_with_pad(255 - image, spec.size, spec.size, antialias=True)
    else:
        image = tf.image.resize(image, (spec.size, spec.size), antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
