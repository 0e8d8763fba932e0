"""Activations of layers for a photo, and Grad-CAM heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from catalogue.cli.errors import UserError
from trainer.networks import cutting
from trainer.networks.activation import Activation

_LAST = "."  # no layer is called so


def activations(classifier: keras.Model, image: np.ndarray, layers: Sequence[str] | None) -> list[Activation]:
    """What layers make of an image.

    Args:
        classifier: of a model directory, ``model.keras``.
        image: uint8 [H, W, 3].
        layers: names of layers; None for the last one of each size of maps, or all of the head if there are no maps.

    Raises:
        UserError: there is no such layer.
    """
    preparation, network = _parts(classifier)
    head = classifier.layers[2]
    outputs = {layer.name: layer.output for layer in network.layers[1:]}
    above = {layer.name: layer.output for layer in head.layers[1:]}
    layers = layer_names(classifier) if layers is None else layers
    unknown = [name for name in layers if name not in {*outputs, *above}]
    if unknown:
        raise UserError(f"--layers: the network has no layer {unknown[0]!r}; inspect without --image lists them")
    inner = keras.Model(network.input, {_LAST: network.output} | {n: outputs[n] for n in layers if n in outputs})
    found = dict(inner(preparation(image[np.newaxis])))
    of_head = keras.Model(head.input, {_LAST: head.output} | {n: above[n] for n in layers if n in above})
    found |= of_head(found[_LAST])
    return [Activation(name, found[name].numpy()[0].astype(np.float32)) for name in layers]


def layer_names(classifier: keras.Model, *, every: bool = False) -> list[str]:
    """Names of layers to look into.

    Args:
        classifier: of a model directory, ``model.keras``.
        every: all of them, in order; if not, the last one of each size of maps, or all of the head if there are none.
    """
    _, network = _parts(classifier)
    above = [layer.name for layer in classifier.layers[2].layers[1:]]
    inside = network.layers[1:]
    if every:
        return [*(layer.name for layer in inside), *above]
    maps = [layer for layer in inside if len(layer.output.shape) == 4]
    sides = {layer.output.shape[1]: layer.name for layer in maps if not isinstance(layer, keras.layers.ZeroPadding2D)}
    return list(sides.values()) or above  # of a network without maps what its dense layers give


def _parts(classifier: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The layer that prepares pixels, and the network on them."""
    preparation, network = classifier.layers[1].layers[-2:]
    return preparation, network


def heat_map(classifier: keras.Model, image: np.ndarray, label: int) -> np.ndarray:
    """What in an image speaks for a label: Grad-CAM at the last maps of the backbone.

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.

    Args:
        classifier: of a model directory, ``model.keras``.
        image: uint8 [H, W, 3].
        label: the number of the label.

    Returns:
        float32 [h, w], from 0 to 1; all 0 where nothing speaks for it, or where the network has no maps.
    """
    backbone, head = classifier.layers[1], classifier.layers[2]
    maps = [name for name, tensor in cutting.cut_tensors(backbone).items() if len(tensor.shape) == 4]
    if not maps:
        return np.zeros((1, 1), np.float32)
    lower, upper = cutting.split(backbone, maps[-1])
    with tf.GradientTape() as tape:
        values = tf.convert_to_tensor(lower(image[np.newaxis]))
        tape.watch(values)
        logit = head(upper(values))[0, label]
    weights = tf.reduce_mean(tape.gradient(logit, values), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * values, axis=-1))[0].numpy()
    return heat / heat.max() if heat.max() > 0 else heat
