"""Activations of layers for a photo, and Grad-CAM heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.networks import cutting, views
from trainer.networks.activation import Activation
from trainer.networks.nodes import in_order

_LAST = "."  # no layer is called so


def activations(classifier: keras.Model, image: np.ndarray, layers: Sequence[str] | None) -> list[Activation]:
    """What layers make of an image.

    Args:
        classifier: of a model directory, ``model.keras``.
        image: uint8 [H, W, 3].
        layers: names of layers that it has; None for the last one of each size of maps, or all of the head if there
            are no maps.

    Returns:
        Of an image with several views the maps of all, one below the other, and the means of what has no places.
    """
    preparation, network = classifier.layers[1].layers[-2], _network(classifier)
    head, count = classifier.layers[2], views.count_of(classifier)
    outputs, above = _outputs(network), _outputs(head)
    layers = layer_names(classifier) if layers is None else layers
    inner = keras.Model(network.input, {_LAST: network.output} | {n: outputs[n] for n in layers if n in outputs})
    inside = dict(inner(preparation(image[np.newaxis])))
    of_head = keras.Model(head.input, {_LAST: head.output} | {n: above[n] for n in layers if n in above})
    found = {name: _of_image(values.numpy(), count) for name, values in inside.items()}
    found |= {name: values.numpy()[0] for name, values in of_head(views.averaged(inside[_LAST], count)).items()}
    return [Activation(name, found[name].astype(np.float32)) for name in layers]


def _of_image(values: np.ndarray, count: int) -> np.ndarray:
    """What a layer gives for the views of an image, [count, ...], as one."""
    if values.ndim == 4:
        return values.reshape(count * values.shape[1], *values.shape[2:])
    return values.astype(np.float32).mean(axis=0)


def layer_names(classifier: keras.Model, *, every: bool = False) -> list[str]:
    """Names of layers to look into.

    Args:
        classifier: of a model directory, ``model.keras``.
        every: all of them, in order; if not, the last one of each size of maps, or all of the head if there are none.
    """
    parts = _network(classifier), classifier.layers[2]
    if every:
        return [name for part in parts for name in _outputs(part)]
    inside, above = (_outputs(part, with_input=False) for part in parts)
    padded = {layer.name for layer in _network(classifier).layers if isinstance(layer, keras.layers.ZeroPadding2D)}
    sides = {tensor.shape[1]: name for name, tensor in inside.items() if len(tensor.shape) == 4 and name not in padded}
    return list(sides.values()) or list(above)  # of a network without maps what its dense layers give


def _network(classifier: keras.Model) -> keras.Model:
    return classifier.layers[1].layers[-1]


def _outputs(part: keras.Model, *, with_input: bool = True) -> dict[str, keras.KerasTensor]:
    """What the layers and operations of a part of a classifier give, by their names, in order."""
    nodes = in_order(part)
    return {
        node.operation.name: node.outputs[0]
        for node in nodes
        if with_input or not isinstance(node.operation, keras.layers.InputLayer)
    }


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
