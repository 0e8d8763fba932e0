"""Networks that turn images into features: all of `keras.applications`, and those of `trainer.networks.own`.

Whatever a network wants done to its pixels first (scaling, means, channel order) is part of the model built here, so
it ends inside the exported graph and nobody can forget it or do it twice.
"""

from __future__ import annotations

import contextlib
import difflib
import http.client
import inspect
import math
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from catalogue.cli.console import UserError, say
from trainer.networks import own as networks

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"
NONE = "none"
COLOR_MODES = ("rgb", "grayscale")
_SIZES_OF_TOPS = {
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380, "EfficientNetB5": 456,
    "EfficientNetB6": 528, "EfficientNetB7": 600, "EfficientNetV2B1": 240, "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300, "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480,
    "InceptionV3": 299, "InceptionResNetV2": 299, "NASNetLarge": 331, "Xception": 299,
}  # fmt: skip
"""Where they differ from 224. Keras knows them only once it has built the network."""


def names() -> list[str]:
    """The names of all networks. Imports Keras."""
    import keras

    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [*networks.NETWORKS, *sorted(name for name, _ in functions if name[0].isupper())]


def is_own(name: str) -> bool:
    """Whether a network is one of `trainer.networks.own`."""
    return name in networks.NETWORKS


def default_image_size(name: str) -> int:
    """The side in pixels of the images a network is fed where the user does not say."""
    return networks.NETWORKS[name].image_size if name in networks.NETWORKS else 224


def image_size_of_top(name: str) -> int:
    """The side in pixels of the images that a network of `keras.applications` with its top was fitted to."""
    return _SIZES_OF_TOPS.get(name, default_image_size(name))


def default_weights(name: str) -> str:
    """The weights a network starts from where the user does not say."""
    return NONE if name in networks.NETWORKS else IMAGENET


def build(
    name: str, weights: str, image_size: int, color_mode: str = COLOR_MODES[0], *, with_top: bool = False
) -> keras.Model:
    """Builds a network, without its top unless that is asked for.

    Args:
        name: one of `names`.
        weights: ``imagenet`` (downloaded by Keras, or found in its cache), ``none`` for random ones, or the path of a
            file that ``keras.Model.load_weights`` reads, of the network with or without its top.
        image_size: the side of the images in pixels.
        color_mode: one of `COLOR_MODES`; ``grayscale`` lets a network of `trainer.networks.own` see one channel.
        with_top: whether with the top that `keras.applications` has for ImageNet's 1,000 classes.

    Returns:
        uint8 [N, image_size, image_size, 3] -> features float32 [N, D], or with the top logits float32 [N, 1000]: a
        layer that prepares the pixels, and the network.

    Raises:
        UserError: an unknown name, a size the network cannot take, weights that are not to be had or do not fit.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"one of {', '.join(names())}"
        raise UserError(f"unknown backbone {name!r}: {hint}")
    ours = name in networks.NETWORKS
    if ours and weights == IMAGENET:
        raise UserError(f"there are no ImageNet weights of the backbone {name!r}: use --weights none")
    if not ours and color_mode != COLOR_MODES[0]:
        raise UserError(f"{name} takes three channels: --color-mode {color_mode} is for {', '.join(networks.NETWORKS)}")
    if weights not in (IMAGENET, NONE) and not os.path.isfile(weights):
        raise UserError(f"there is no weights file {weights}: --weights takes imagenet, none or a file")
    if ours and with_top:
        raise UserError(f"{name} has no top of its own: that is for the networks of keras.applications")
    if ours:
        network = _own(name, image_size, color_mode)
    else:
        network = _application(name, weights == IMAGENET, image_size, with_top)
    if weights not in (IMAGENET, NONE):
        _load_weights(network, f"{name} {'with' if with_top else 'without'} its top", weights)
    return _on_pixels(name, network, image_size, color_mode)


def _on_pixels(name: str, network: keras.Model, image_size: int, color_mode: str) -> keras.Model:
    import keras

    images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
    pixels = keras.ops.cast(images, "float32")
    if name in networks.NETWORKS:
        if color_mode == "grayscale":
            pixels = keras.ops.image.rgb_to_grayscale(pixels)
        prepared = networks.NETWORKS[name].prepare(pixels)
    else:
        module = sys.modules[getattr(keras.applications, name).__module__]
        prepared = module.preprocess_input(pixels)
    preparation = keras.Model(images, prepared, name="preparation")
    images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
    return keras.Model(images, network(preparation(images)), name=name)


def cuts(backbone: keras.Model) -> list[str]:
    """The layers of a network that `split` can cut behind: all that comes later sees only what they give."""
    return list(cut_tensors(backbone))


def cut_tensors(backbone: keras.Model) -> dict[str, keras.KerasTensor]:
    """The layers of `cuts` with what each gives, in the order of the network."""
    # By node, not by layer: `layer.output` of a nested model names a tensor inside it.
    by_depth = backbone.layers[-1]._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
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
    """The layer below which little is worth fitting again.

    The first of those that give the least numbers among all that give a sixteenth of the image's side, with the
    normalisation and the activation that follow it.

    Raises:
        UserError: there is none.
    """
    import keras

    side = -(-backbone.input_shape[1] // 16)
    found = [(name, tensor) for name, tensor in cut_tensors(backbone).items() if _side(tensor) <= side]
    sizes = [math.prod(tensor.shape[1:]) for _, tensor in found if _side(tensor) == _side(found[0][1])]
    if not sizes:
        raise UserError(f"{backbone.name} has no layer to cut behind by default: give --fine-tune all or a layer")
    chosen = sizes.index(min(sizes))
    follows = (keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU)
    while chosen + 1 < len(sizes) and isinstance(found[chosen + 1][1]._keras_history.operation, follows):
        chosen += 1
    return found[chosen][0]


def _side(tensor: keras.KerasTensor) -> float:
    """The height of activations; infinite where they have none."""
    return tensor.shape[1] if len(tensor.shape) == 4 else math.inf


def split(backbone: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Divides a network behind one of its `cuts`; the layers and their weights are shared, not copied.

    Returns:
        uint8 images [N, H, W, 3] -> activations [N, ...], and activations -> features [N, D].

    Raises:
        UserError: it cannot be cut there.
    """
    import keras

    possible = cut_tensors(backbone)
    if layer not in possible:
        every_eighth = list(possible)[:: max(1, len(possible) // 8)]
        nearest = difflib.get_close_matches(layer, possible, n=3, cutoff=0.5) or every_eighth
        raise UserError(
            f"{backbone.name} cannot be cut behind a layer {layer!r}: give none, top, all, or a layer such as "
            f"{', '.join(nearest)}"
        )
    preparation, network = backbone.layers[-2:]
    activations = possible[layer]
    images = keras.Input(backbone.input_shape[1:], dtype="uint8", name="images")
    lower = keras.Model(images, keras.Model(network.input, activations)(preparation(images)), name="lower")
    return lower, keras.Model(activations, network.output, name="upper")


def _own(name: str, image_size: int, color_mode: str) -> keras.Model:
    channels = 1 if color_mode == "grayscale" else 3
    try:
        return networks.NETWORKS[name].build(image_size, channels)
    except ValueError as error:
        raise UserError(f"{name} cannot be built for images of {image_size} pixels: {error}") from error


def _application(name: str, imagenet: bool, image_size: int, with_top: bool) -> keras.Model:
    import keras

    top: dict[str, Any] = {"classifier_activation": None} if with_top else {"pooling": "avg"}
    if imagenet:
        say(f"reading the ImageNet weights of {name} (Keras downloads them the first time)")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Keras tells of its downloads
            return getattr(keras.applications, name)(
                weights=IMAGENET if imagenet else None,
                include_top=with_top,
                input_shape=(image_size, image_size, 3),
                **top,
            )
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"the ImageNet weights of {name} were not read ({error}): connect to the network and try again; what a "
            "download that was cut short has left is in the models folder of KERAS_HOME (~/.keras), delete it"
        ) from error
    except ValueError as error:
        raise UserError(f"{name} cannot be built for images of {image_size} pixels: {error}") from error
    except Exception as error:  # keras.utils.get_file raises Exception itself
        if "URL fetch failure" not in str(error):
            raise
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}): connect to the network, put the file into "
            "the models folder of KERAS_HOME (~/.keras), or give --weights FILE"
        ) from error


def _load_weights(network: keras.Model, what: str, file: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it leaves as they were
            network.load_weights(file)
    except (ValueError, OSError, KeyError, TypeError, IndexError, UserWarning) as error:
        raise UserError(f"the weights in {file} do not fit {what}: {error}") from error
