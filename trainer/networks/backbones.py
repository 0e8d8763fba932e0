"""Networks that turn images into features: all of `keras.applications`, and those of `trainer.networks.own`.

Whatever a network wants done to its pixels first (scaling, means, channel order) is part of the model built here, so
it ends inside the exported graph and nobody can forget it or do it twice.
"""

from __future__ import annotations

import contextlib
import difflib
import http.client
import inspect
import os
import sys
import warnings
from typing import Any

import keras

from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from trainer.networks import earlier, own, views
from trainer.networks.names import COLOR_MODES, IMAGENET, NONE, Layers


def names() -> list[str]:
    """The names of all networks. Imports Keras."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [*own.NETWORKS, *sorted(name for name, _ in functions if name[0].isupper())]


def build(
    name: str,
    weights: str,
    image_size: int,
    color_mode: str = COLOR_MODES[0],
    layers: Layers | None = None,
    *,
    view_count: int = 1,
    with_top: bool = False,
) -> keras.Model:
    """Builds a network, without its top unless that is asked for.

    Args:
        name: one of `names`.
        weights: ``imagenet`` (downloaded by Keras, or found in its cache), ``none`` for random ones, or the path of a
            file that ``keras.Model.load_weights`` reads, of the network with or without its top, or of a
            ``model.keras`` that ``train`` wrote.
        image_size: the side of the images in pixels.
        view_count: how many views of a picture an image holds, one below the other; their features are averaged.
        color_mode: one of `COLOR_MODES`; ``grayscale`` lets a network of `trainer.networks.own` see one channel.
        layers: of the network ``convolutional``; None for the usual ones.
        with_top: whether with the top that `keras.applications` has for ImageNet's 1,000 classes.

    Returns:
        uint8 [N, view_count · image_size, image_size, 3] -> features float32 [N, D], or with the top logits float32
        [N, 1000]: a layer that prepares the pixels of each view, and the network.

    Raises:
        UserError: an unknown name, a size the network cannot take, weights that are not to be had or do not fit.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"one of {', '.join(names())}"
        raise UserError(f"unknown backbone {name!r}: {hint}")
    ours = name in own.NETWORKS
    if ours and weights == IMAGENET:
        raise UserError(f"there are no ImageNet weights of the backbone {name!r}: use --weights none")
    if not ours and color_mode != COLOR_MODES[0]:
        raise UserError(f"{name} takes three channels: --color-mode {color_mode} is for {', '.join(own.NETWORKS)}")
    if weights not in (IMAGENET, NONE) and not os.path.isfile(weights):
        raise UserError(f"there is no weights file {weights}: --weights takes imagenet, none or a file")
    if ours and with_top:
        raise UserError(f"{name} has no top of its own: that is for the networks of keras.applications")
    if ours:
        network = _own(name, image_size, color_mode, layers or Layers())
    else:
        network = _application(name, weights == IMAGENET, image_size, with_top)
    if weights.endswith(earlier.ENDING):
        earlier.load_network(network, name, weights)
    elif weights not in (IMAGENET, NONE):
        _load_weights(network, f"{name} {'with' if with_top else 'without'} its top", weights)
    return _on_pixels(name, network, (view_count * image_size, image_size, 3), color_mode)


def _on_pixels(name: str, network: keras.Model, shape: tuple[int, int, int], color_mode: str) -> keras.Model:
    images = keras.Input(shape, dtype="uint8", name="images")
    count = shape[0] // shape[1]
    pixels = keras.ops.cast(views.apart(images, count), "float32")
    if name in own.NETWORKS:
        if color_mode == "grayscale":
            pixels = keras.ops.image.rgb_to_grayscale(pixels)
        prepared = own.NETWORKS[name].prepare(pixels)
    else:
        module = sys.modules[getattr(keras.applications, name).__module__]
        prepared = module.preprocess_input(pixels)
    preparation = keras.Model(images, prepared, name="preparation")
    images = keras.Input(shape, dtype="uint8", name="images")
    return keras.Model(images, views.averaged(network(preparation(images)), count), name=name)


def _own(name: str, image_size: int, color_mode: str, layers: Layers) -> keras.Model:
    channels = 1 if color_mode == "grayscale" else 3
    try:
        return own.NETWORKS[name].build(image_size, channels, layers)
    except ValueError as error:
        raise UserError(f"{name} cannot be built for images of {image_size} pixels: {error}") from error


def _application(name: str, imagenet: bool, image_size: int, with_top: bool) -> keras.Model:
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
