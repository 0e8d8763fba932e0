"""Networks that turn images into features: all of `keras.applications`, and a small one to train from scratch.

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
from typing import TYPE_CHECKING

from trainer.console import UserError, say

if TYPE_CHECKING:
    import keras

SMALL = "small"
IMAGENET = "imagenet"
NONE = "none"


def names() -> list[str]:
    """The names of all networks. Imports Keras."""
    import keras

    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [SMALL, *sorted(name for name, _ in functions if name[0].isupper())]


def default_image_size(name: str) -> int:
    """The side in pixels of the images a network is fed where the user does not say."""
    return 96 if name == SMALL else 224


def default_weights(name: str) -> str:
    """The weights a network starts from where the user does not say."""
    return NONE if name == SMALL else IMAGENET


def build(name: str, weights: str, image_size: int) -> keras.Model:
    """Builds a network without its top.

    Args:
        name: one of `names`.
        weights: ``imagenet`` (downloaded by Keras, or found in its cache), ``none`` for random ones, or the path of a
            file that ``keras.Model.load_weights`` reads, of the network without its top.
        image_size: the side of the images in pixels.

    Returns:
        uint8 [N, image_size, image_size, 3] -> float32 [N, D].

    Raises:
        UserError: an unknown name, a size the network cannot take, weights that are not to be had or do not fit.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"one of {', '.join(names())}"
        raise UserError(f"unknown backbone {name!r}: {hint}")
    if name == SMALL and weights == IMAGENET:
        raise UserError(f"there are no ImageNet weights of the backbone {SMALL!r}: use --weights none")
    if weights not in (IMAGENET, NONE) and not os.path.isfile(weights):
        raise UserError(f"there is no weights file {weights}: --weights takes imagenet, none or a file")
    network = _small(image_size) if name == SMALL else _application(name, weights == IMAGENET, image_size)
    if weights not in (IMAGENET, NONE):
        _load_weights(network, name, weights)
    return _on_pixels(name, network, image_size)


def _on_pixels(name: str, network: keras.Model, image_size: int) -> keras.Model:
    import keras

    images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
    pixels = keras.ops.cast(images, "float32")
    if name == SMALL:
        prepared = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    else:
        module = sys.modules[getattr(keras.applications, name).__module__]
        prepared = module.preprocess_input(pixels)
    return keras.Model(images, network(prepared), name=name)


def _application(name: str, imagenet: bool, image_size: int) -> keras.Model:
    import keras

    if imagenet:
        say(f"reading the ImageNet weights of {name}, which Keras downloads once")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Keras tells of its downloads
            return getattr(keras.applications, name)(
                weights=IMAGENET if imagenet else None,
                include_top=False,
                pooling="avg",
                input_shape=(image_size, image_size, 3),
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


def _load_weights(network: keras.Model, name: str, file: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it leaves as they were
            network.load_weights(file)
    except (ValueError, OSError, KeyError, TypeError, IndexError, UserWarning) as error:
        raise UserError(f"the weights in {file} do not fit {name} without its top: {error}") from error


def _small(image_size: int) -> keras.Model:
    """Five convolutions and 0.1 million parameters, to train from scratch on a few hundred pictures in a minute.

    The features keep their places (they are flattened, not averaged): with so little to learn from, where an edge is
    says more than how many there are.
    """
    import keras

    def convolution(x: keras.KerasTensor, filters: int, side: int, strides: int = 1) -> keras.KerasTensor:
        x = keras.layers.Conv2D(filters, side, strides=strides, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)  # a few hundred steps are all it may get
        return keras.layers.ReLU()(x)

    images = keras.Input((image_size, image_size, 3))
    x = convolution(images, 16, 5, strides=2)
    for filters in (32, 64, 96):
        x = keras.layers.MaxPooling2D(padding="same")(convolution(x, filters, 3))
    x = keras.layers.Conv2D(32, 1)(x)
    return keras.Model(images, keras.layers.Flatten()(x), name="small_convolutions")
