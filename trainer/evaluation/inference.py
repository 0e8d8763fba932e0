"""A model applied to photos."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from catalogue.cli.console import Progress
from catalogue.images.reader import ImageSpec, Limits
from catalogue.model_dir import saved_model
from trainer.data import dataset

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Classified:
    """The photos that could be read, with what the model says of them.

    Attributes:
        examples: N of them.
        probabilities: float32 [N, K].
        unreadable: the examples that gave no photo.
    """

    examples: tuple[dataset.Example, ...]
    probabilities: np.ndarray
    unreadable: tuple[dataset.Unreadable, ...]


def classify(
    examples: Iterable[dataset.Example],
    total: int,
    spec: ImageSpec,
    limits: Limits,
    probabilities: Callable[[np.ndarray], np.ndarray],
) -> Classified:
    """Reads and classifies examples.

    Args:
        examples: `total` of them.
        spec: the images the model takes.
        limits: which photos are too large.
        probabilities: uint8 [N, H, W, 3] -> float32 [N, K].
    """
    photos = dataset.read_photos(examples, spec, limits)
    good: list[dataset.Example] = []
    rows: list[np.ndarray] = []
    unreadable: list[dataset.Unreadable] = []
    with Progress("classifying", total, "photos") as progress:
        while batch := list(itertools.islice(photos, BATCH_SIZE)):
            readable = [photo for photo in batch if isinstance(photo, dataset.Photo)]
            unreadable += [photo for photo in batch if isinstance(photo, dataset.Unreadable)]
            if readable:
                rows.append(probabilities(np.stack([photo.image for photo in readable])))
                good += [photo.example for photo in readable]
            progress.advance(len(batch))
    return Classified(tuple(good), np.concatenate(rows) if rows else np.zeros((0, 0), np.float32), tuple(unreadable))


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model of uint8 images as a function of NumPy arrays."""
    import tensorflow as tf

    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    function = tf.function(lambda images: model(images, training=False), input_signature=[spec])
    run = saved_model.folded(function.get_concrete_function())
    return lambda images: run(images)[0].numpy()
