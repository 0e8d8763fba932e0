"""Compilation of Keras models to fast functions of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from catalogue.model_dir import graph


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a model that takes uint8 images to a function of NumPy arrays."""
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    function = tf.function(lambda images: model(images, training=False), input_signature=[spec])
    run = graph.folded(function.get_concrete_function())
    return lambda images: run(images)[0].numpy()
