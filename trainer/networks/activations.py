"""Activations of layers for a photo, and Grad-CAM heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.networks import cutting, views
from trainer.networks.activation import Activation
from trainer.networks.nodes import in_order

_LAST = "."  # key of a part's last output; no layer is expected to have this name


def activations(classifier: keras.Model, image: np.ndarray, layers: Sequence[str] | None) -> list[Activation]:
    """Return the activations of layers for an image.

    Args:
        classifier: ``model.keras`` of a model directory.
        image: uint8 [H, W, 3].
        layers: names of existing layers; None for the default selection of `layer_names`.

    Returns:
        The activations. For an image with several views, maps are stacked vertically and vectors are averaged.
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
    """Combine a layer's outputs for the views of an image, [count, ...]: stack maps, average vectors."""
    if values.ndim == 4:
        return values.reshape(count * values.shape[1], *values.shape[2:])
    return values.astype(np.float32).mean(axis=0)


def layer_names(classifier: keras.Model, *, every: bool = False) -> list[str]:
    """Return the names of layers whose activations can be shown.

    Args:
        classifier: ``model.keras`` of a model directory.
        every: whether to return all layers, in order. If not, only the last layer of each feature-map size, apart from
            zero padding, or all layers of the head if the backbone has no feature maps.
    """
    parts = _network(classifier), classifier.layers[2]
    if every:
        return [name for part in parts for name in _outputs(part)]
    inside, above = (_outputs(part, with_input=False) for part in parts)
    padded = {layer.name for layer in _network(classifier).layers if isinstance(layer, keras.layers.ZeroPadding2D)}
    sides = {tensor.shape[1]: name for name, tensor in inside.items() if len(tensor.shape) == 4 and name not in padded}
    return list(sides.values()) or list(above)  # the layers of the head, if the backbone has no feature maps


def _network(classifier: keras.Model) -> keras.Model:
    return classifier.layers[1].layers[-1]


def _outputs(part: keras.Model, *, with_input: bool = True) -> dict[str, keras.KerasTensor]:
    """Map the name of each layer and operation in a part of a classifier to its output, in network order."""
    nodes = in_order(part)
    return {
        node.operation.name: node.outputs[0]
        for node in nodes
        if with_input or not isinstance(node.operation, keras.layers.InputLayer)
    }


def heat_map(classifier: keras.Model, image: np.ndarray, label: int) -> np.ndarray:
    """Return the Grad-CAM heat map of an image for a label.

    It is computed from the last feature maps at which the backbone can be cut.

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.

    Args:
        classifier: ``model.keras`` of a model directory.
        image: uint8 [H, W, 3].
        label: index of the label.

    Returns:
        float32 [h, w], from 0 to 1, stacked vertically for several views; all 0 if no part of the image supports the
        label, or if the network has no feature maps.
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
