"""Cutting of a network into a frozen and a trainable part."""

from __future__ import annotations

import difflib
import math

import keras

from catalogue.cli.errors import UserError
from trainer.networks import views
from trainer.networks.nodes import in_order


def cut_tensors(backbone: keras.Model) -> dict[str, keras.KerasTensor]:
    """Return the names of the layers that `split` can cut after, with their outputs, in network order.

    At a cut, all later layers depend on the earlier ones only through the output of the layer at the cut.
    """
    nodes = in_order(backbone.layers[-1])
    producer = {id(output): position for position, node in enumerate(nodes) for output in node.outputs}
    last_use: dict[int, int] = {}
    for position, node in enumerate(nodes):
        last_use |= {producer[id(tensor)]: position for tensor in node.input_tensors}
    busy_until, found = 0, {}
    for position, node in enumerate(nodes[:-1]):
        if 0 < busy_until <= position:
            found[node.operation.name] = node.outputs[0]
        busy_until = max(busy_until, last_use[position])
    return found


def default_cut(backbone: keras.Model) -> str:
    """Return the layer below which fine-tuning gains little.

    Candidates are the cut points at the first feature-map size of at most a sixteenth of the image's side. The first
    candidate with the smallest output is chosen, or the last of the normalization and activation layers right after it.

    Raises:
        UserError: no cut point has feature maps of at most a sixteenth of the image's side.
    """
    side = -(-backbone.input_shape[2] // 16)
    found = [(name, tensor) for name, tensor in cut_tensors(backbone).items() if _side(tensor) <= side]
    sizes = [math.prod(tensor.shape[1:]) for _, tensor in found if _side(tensor) == _side(found[0][1])]
    if not sizes:
        raise UserError(f"{backbone.name} has no default layer to cut after: give --fine-tune all, or a layer")
    chosen = sizes.index(min(sizes))
    follows = (keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU)
    while chosen + 1 < len(sizes) and isinstance(found[chosen + 1][1]._keras_history.operation, follows):
        chosen += 1
    return found[chosen][0]


def _side(tensor: keras.KerasTensor) -> float:
    """Return the height of feature maps, or infinity for other activations."""
    return tensor.shape[1] if len(tensor.shape) == 4 else math.inf


def split(backbone: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Split a network after one of the layers of `cut_tensors`; layers and weights are shared, not copied.

    Returns:
        The lower part, uint8 images [N, H, W, 3] -> activations [N, ...], and the upper part, activations -> features
        [N, D]. If the images have several views, the activations of the views are stacked vertically, too.

    Raises:
        UserError: the network cannot be cut after this layer.
    """
    possible = cut_tensors(backbone)
    if layer not in possible:
        every_eighth = list(possible)[:: max(1, len(possible) // 8)]
        nearest = difflib.get_close_matches(layer, possible, n=3, cutoff=0.5) or every_eighth
        raise UserError(
            f"{backbone.name} cannot be cut after layer {layer!r}: give none, top, all, or a layer such as "
            f"{', '.join(nearest)}"
        )
    preparation, network = backbone.layers[-2:]
    activations, count = possible[layer], views.count_of(backbone)
    images = keras.Input(backbone.input_shape[1:], dtype="uint8", name="images")
    below = keras.Model(network.input, activations)
    lower = keras.Model(images, views.together(below(preparation(images)), count), name="lower")
    above = keras.Model(activations, network.output, name="upper")
    if count == 1:
        return lower, above
    at_cut = keras.Input(lower.output_shape[1:], dtype=activations.dtype, name="cut")
    return lower, keras.Model(at_cut, views.averaged(above(views.apart(at_cut, count)), count), name="upper")
