"""Classifiers that other programs have trained and Keras has saved: made into networks that take uint8 images."""

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
    """Reads a classifier.

    Args:
        file: ``.keras``, or ``.h5`` as older versions wrote it, on a local disk.

    Returns:
        [N, H, W, C] -> [N, K].

    Raises:
        UserError: it cannot be read, or is no such model.
    """
    try:
        model = keras.models.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} cannot be read as a model of Keras {keras.__version__}: {message}") from error
    try:
        shapes = [tensor.shape for tensor in (*model.inputs, *model.outputs)]
    except AttributeError as error:
        raise UserError(f"{file} is no graph of layers, or was saved before it had seen an image") from error
    if [len(shape) for shape in shapes] != [4, 2] or shapes[0][3] not in (1, 3):
        raise UserError(
            f"{file} is no classifier of images: it takes and gives {', '.join(map(str, shapes))} instead of "
            "(None, height, width, 3) and (None, classes)"
        )
    return model


def _through(model: keras.Model, x: keras.KerasTensor) -> keras.KerasTensor:
    """What a model gives for an input, the layers of models inside it in their place, where all can be looked into."""

    def run(operation: Any) -> Callable[..., Any]:
        return operation if _graph(operation) is None else lambda inputs, **_: _through(operation, inputs)

    (found,) = keras.tree.flatten(_graph(model)._run_through_graph([x], operation_fn=run))
    return found


def _graph(operation: Any) -> Any:
    """The graph of layers that a model is; None for anything else, and where it takes or gives several things."""
    graph = operation._functional if isinstance(operation, keras.Sequential) else operation
    is_plain = hasattr(graph, "_run_through_graph") and len(graph.inputs) == len(graph.outputs) == 1
    return graph if is_plain else None


def image_size(model: keras.Model, given: int | None) -> int:
    """The side in pixels of the square images that a model takes.

    Args:
        model: what `load` gave.
        given: by the user; None if not.

    Raises:
        UserError: its images are not square, or of another size, or of any and none is given.
    """
    height, width = model.input_shape[1:3]
    if height is None or width is None:
        if given is None:
            raise UserError("the model takes images of any size: give --image-size")
        return given
    if height != width:
        raise UserError(f"the model takes images of {width} × {height} pixels: only square ones are possible")
    if given not in (None, height):
        raise UserError(f"the model takes images of {height} pixels a side: leave --image-size {given} out")
    return int(height)


def network(model: keras.Model, side: int, preparation: str) -> Network:
    """A network on the pixels of photos.

    Args:
        model: what `load` gave, with probabilities or logits.
        side: of the images in pixels.
        preparation: what the model wants done to pixels from 0 to 255, one of `trainer.networks.names.PREPARATIONS`.
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
    """Those that a model can have been trained with."""
    return [name for name in names.PREPARATIONS if model.input_shape[3] == 3 or name not in ("caffe", "torch")]


def _gives_probabilities(backbone: keras.Model) -> bool:
    """Whether the outputs are from 0 to 1 and add up to one, for noise, black and white."""
    shape = (4, *backbone.input_shape[1:])
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    noise[0], noise[1] = 0, 255
    found = backbone.predict_on_batch(noise)
    return bool((found >= 0).all() and np.allclose(found.sum(axis=1), 1, atol=1e-3))
