"""Feature extractors: the networks of `keras.applications` and of `trainer.networks.own`.

Preprocessing of the pixels (scaling, means, channel order) is part of the model built here. It is therefore part of the
exported graph and cannot be forgotten or applied twice.
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
    """Return the names of all networks."""
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
    """Build a network, by default without its top.

    Args:
        name: one of `names`.
        weights: ``imagenet`` (downloaded and cached by Keras), ``none`` for random initialization, or the path of a
            file: a ``model.keras`` written by ``train`` (not with `with_top`), or weights for
            ``keras.Model.load_weights``, which include the top if `with_top`.
        image_size: side of the images in pixels.
        view_count: number of views that are stacked vertically in an image; their outputs are averaged.
        color_mode: one of `COLOR_MODES`; ``grayscale``, which gives the network one channel, is only for the networks
            of `trainer.networks.own`.
        layers: layer settings of the network ``convolutional``; None for the defaults.
        with_top: whether to include the top that `keras.applications` has for the 1,000 ImageNet classes.

    Returns:
        uint8 [N, view_count · image_size, image_size, 3] -> features [N, D], or logits [N, 1000] with the top, in the
        compute dtype of the Keras dtype policy. The model chains two nested models: the first prepares the pixels of
        each view, the second is the network.

    Raises:
        UserError: the name is unknown; the network does not support the size, the color mode or a top; or the weights
            are unavailable or do not fit.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"choose one of {', '.join(names())}"
        raise UserError(f"unknown backbone {name!r}: {hint}")
    ours = name in own.NETWORKS
    if ours and weights == IMAGENET:
        raise UserError(f"the backbone {name!r} has no ImageNet weights: give --weights none")
    if not ours and color_mode != COLOR_MODES[0]:
        raise UserError(
            f"{name} needs three channels: omit --color-mode {color_mode}, or choose one of {', '.join(own.NETWORKS)}"
        )
    if weights not in (IMAGENET, NONE) and not os.path.isfile(weights):
        raise UserError(f"weights file {weights} does not exist: --weights accepts imagenet, none or a file")
    if ours and with_top:
        raise UserError(f"{name} has no top: choose a network of keras.applications")
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
    except ValueError as error:  # Keras's own message has many lines
        raise UserError(
            f"{name} cannot be built for images of {image_size} × {image_size} pixels: use a larger --image-size, or, "
            "with --backbone convolutional, fewer --convolutions, smaller --strides or --pooling none"
        ) from error


def _application(name: str, imagenet: bool, image_size: int, with_top: bool) -> keras.Model:
    top: dict[str, Any] = {"classifier_activation": None} if with_top else {"pooling": "avg"}
    if imagenet:
        say(f"reading the ImageNet weights of {name} (Keras downloads them the first time)")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints download progress to stdout
            return getattr(keras.applications, name)(
                weights=IMAGENET if imagenet else None,
                include_top=with_top,
                input_shape=(image_size, image_size, 3),
                **top,
            )
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"the ImageNet weights of {name} cannot be read ({error}): connect to the internet and try again; if a "
            "download was cut short, delete its file in the models folder of KERAS_HOME (default: ~/.keras)"
        ) from error
    except ValueError as error:
        raise UserError(f"{name} cannot be built for images of {image_size} × {image_size} pixels: {error}") from error
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        if "URL fetch failure" not in str(error):
            raise
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}): connect to the internet, put the file in "
            "the models folder of KERAS_HOME (default: ~/.keras), or give --weights FILE"
        ) from error


def _load_weights(network: keras.Model, what: str, file: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that it skips
            network.load_weights(file)
    except (ValueError, OSError, KeyError, TypeError, IndexError, UserWarning) as error:
        raise UserError(f"{file} cannot be loaded as the weights of {what}: {error}") from error
