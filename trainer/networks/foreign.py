"""Import of Keras classifiers trained by other programs, as `Network`s with uint8 image inputs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from catalogue.cli.errors import UserError
from trainer.networks import names
from trainer.networks.network import Network


def load(file: str) -> keras.Model:
    """Read a classifier.

    Args:
        file: path of a ``.keras`` file, or an ``.h5`` file of older Keras versions, on a local disk.

    Returns:
        The classifier, [N, H, W, C] -> [N, K].

    Raises:
        UserError: the file cannot be read, or is not an image classifier.
    """
    try:
        model = keras.models.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} cannot be read as a Keras {keras.__version__} model: {message}") from error
    try:
        shapes = [tensor.shape for tensor in (*model.inputs, *model.outputs)]
    except AttributeError as error:
        raise UserError(
            f"{file} is not a functional or sequential model, or was saved before it was built: build and save it again"
        ) from error
    if [len(shape) for shape in shapes] != [4, 2] or shapes[0][3] not in (1, 3):
        raise UserError(
            f"{file} is not an image classifier: its inputs and outputs are {', '.join(map(str, shapes))} instead of "
            "(None, height, width, 3 or 1) and (None, classes)"
        )
    return model


def _through(model: keras.Model, x: keras.KerasTensor) -> keras.KerasTensor:
    """Apply a model to an input, inlining nested models so that all their layers are accessible."""

    def run(operation: Any) -> Callable[..., Any]:
        return operation if _graph(operation) is None else lambda inputs, **_: _through(operation, inputs)

    (found,) = keras.tree.flatten(_graph(model)._run_through_graph([x], operation_fn=run))
    return found


def _graph(operation: Any) -> Any:
    """Return the layer graph of an operation that is a model with one input and one output; None for others."""
    graph = operation._functional if isinstance(operation, keras.Sequential) else operation
    is_plain = hasattr(graph, "_run_through_graph") and len(graph.inputs) == len(graph.outputs) == 1
    return graph if is_plain else None


def image_size(model: keras.Model, given: int | None) -> int:
    """Return the side in pixels of the square images that a model needs.

    Args:
        model: classifier from `load`.
        given: image size given by the user; None if not given.

    Raises:
        UserError: the model needs images that are not square or differ in size from `given`, or it accepts any size and
            `given` is None.
    """
    height, width = model.input_shape[1:3]
    if height is None or width is None:
        if given is None:
            raise UserError("the model accepts images of any size: give --image-size")
        return given
    if height != width:
        raise UserError(f"the model needs images of {width} × {height} pixels: only square images are supported")
    if given not in (None, height):
        raise UserError(f"the model needs images of {height} pixels a side: omit --image-size {given}")
    return int(height)


def network(model: keras.Model, side: int, preparation: str) -> Network:
    """Build a `Network` with uint8 image inputs from a classifier.

    Args:
        model: classifier from `load`, with outputs that are probabilities or logits.
        side: side of the images in pixels.
        preparation: preprocessing that the model needs, one of `trainer.networks.names.PREPARATIONS`.
    """
    shape = (side, side, 3)
    images = keras.Input(shape, dtype="uint8", name="images")
    pixels = keras.ops.cast(images, "float32")
    if model.input_shape[3] == 1:
        pixels = keras.ops.image.rgb_to_grayscale(pixels)
    prepared = keras.Model(images, _prepared(pixels, preparation), name="preparation")
    images = keras.Input(shape, dtype="uint8", name="images")
    inputs = keras.Input((side, side, model.input_shape[3]))
    inlined = keras.Model(inputs, _through(model, inputs), name="imported")
    backbone = keras.Model(images, inlined(prepared(images)), name=inlined.name)
    return Network.with_own_top(backbone, gives_probabilities=_gives_probabilities(backbone))


def _prepared(pixels: keras.KerasTensor, preparation: str) -> keras.KerasTensor:
    if preparation == "none":
        return pixels
    if preparation == "unit":
        return pixels / 255.0
    return keras.applications.imagenet_utils.preprocess_input(pixels, data_format="channels_last", mode=preparation)


def preparations(model: keras.Model) -> list[str]:
    """Return the preparations that a model may have been trained with."""
    return [name for name in names.PREPARATIONS if model.input_shape[3] == 3 or name not in ("caffe", "torch")]


def _gives_probabilities(backbone: keras.Model) -> bool:
    """Return whether the outputs for a black, a white and two noise images are non-negative and add up to 1."""
    shape = (4, *backbone.input_shape[1:])
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    noise[0], noise[1] = 0, 255
    found = backbone.predict_on_batch(noise)
    return bool((found >= 0).all() and np.allclose(found.sum(axis=1), 1, atol=1e-3))
