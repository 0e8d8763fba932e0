"""Fitting a classifier: what is frozen runs once over each photo, what is fitted sees its features in every epoch."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.console import CommandFailed, Progress
from trainer.dataset import Photo, Unreadable
from trainer.evaluation import fit_temperature

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How a network is fitted. `learning_rate` is Adam's, `dropout` stands before the last layer."""

    epochs: int
    batch_size: int
    learning_rate: float
    dropout: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Network:
    """A classifier in two parts.

    Attributes:
        frozen: uint8 [N, H, W, 3] -> float32 [N, D], not fitted; None if everything is.
        fitted: [N, D], or the images where nothing is frozen -> logits float32 [N, K].
    """

    frozen: keras.Model | None
    fitted: keras.Model

    @classmethod
    def on(cls, backbone: keras.Model, classes: int, dropout: float, *, freeze: bool) -> Network:
        """A dense layer of `classes` units on the features of `backbone`."""
        import keras

        if freeze:
            backbone.trainable = False
            features = inputs = keras.Input(backbone.output_shape[1:], name="features")
        else:
            inputs, features = backbone.input, backbone.output
        logits = keras.layers.Dense(classes, name="logits")(keras.layers.Dropout(dropout)(features))
        return cls(backbone if freeze else None, keras.Model(inputs, logits, name="fitted"))

    def calibrated(self, temperature: float) -> keras.Model:
        """The whole: uint8 [N, H, W, 3] -> probabilities float32 [N, K]."""
        import keras

        images = keras.Input((self.frozen or self.fitted).input_shape[1:], dtype="uint8", name="images")
        logits = self.fitted(self.frozen(images) if self.frozen else images)
        scaled = keras.layers.Rescaling(1 / temperature, name="temperature")(logits)
        return keras.Model(images, keras.layers.Softmax(name="probabilities")(scaled), name="classifier")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Photos as `Network.fitted` takes them.

    Attributes:
        values: [N, ...], row by row those of `photos`; a file mapped into memory, so N may be large.
        paths, labels, content_hashes: of the N photos.
        unreadable: the examples that gave no photo.
    """

    values: np.ndarray
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    content_hashes: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]


def encode(photos: Iterator[Photo | Unreadable], total: int, network: Network, batch_size: int, folder: str) -> Encoded:
    """Runs the frozen part of a network once over each photo.

    Args:
        photos: `total` of them at most.
        network: with nothing frozen, the images themselves are kept.
        batch_size: photos that go through the network at once.
        folder: where the values are kept, on a local disk.
    """
    model = network.frozen or network.fitted
    shape, dtype = (model.output_shape[1:], "float32") if network.frozen else (model.input_shape[1:], "uint8")
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
        values = np.lib.format.open_memmap(file.name, "w+", dtype, (max(total, 1), *shape))
    run = _compiled(network.frozen) if network.frozen else lambda images: images
    kept: list[tuple[str, str, str]] = []
    unreadable: list[Unreadable] = []
    with Progress(
        "reading photos" + (" and running the frozen network" if network.frozen else ""), total, "photos"
    ) as progress:
        while batch := list(itertools.islice(photos, batch_size)):
            good = [photo for photo in batch if isinstance(photo, Photo)]
            unreadable += [photo for photo in batch if isinstance(photo, Unreadable)]
            if good:
                values[len(kept) : len(kept) + len(good)] = run(np.stack([photo.image for photo in good]))
                kept += [(photo.example.path, photo.example.label, photo.content_hash) for photo in good]
            progress.advance(len(batch), f"{len(unreadable)} unreadable" if unreadable else "")
    paths, labels, content_hashes = zip(*kept, strict=True) if kept else ((), (), ())
    return Encoded(values[: len(kept)], paths, labels, content_hashes, tuple(unreadable))


def _compiled(model: keras.Model) -> Any:
    """A model as one traced function of a batch of any size, without what `predict` does around it."""
    import tensorflow as tf

    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    function = tf.function(lambda images: model(images, training=False), input_signature=[spec])
    return lambda images: function(images).numpy()


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What fitting found.

    Attributes:
        logits: float32 [N, K] of the validation photos, in the best epoch.
        temperature: what to divide logits by for calibrated probabilities.
        best_epoch: counted from one.
        epochs: loss and accuracy of each epoch, on training and (``val_``) on validation photos.
    """

    logits: np.ndarray
    temperature: float
    best_epoch: int
    epochs: tuple[dict[str, float], ...]


def fit(
    model: keras.Model,
    values: np.ndarray,
    truth: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    options: FitOptions,
) -> Fitted:
    """Fits `model` and leaves it with the weights of its best epoch: highest validation accuracy, then lowest loss.

    Args:
        model: [N, ...] -> logits [N, K].
        values: [N, ...].
        truth: int [N], the index of the right label.
        training, validation: int, the rows of `values` to use for each.
        options: how.

    Raises:
        CommandFailed: the loss is no longer a number.
    """
    import keras

    model.compile(
        keras.optimizers.Adam(options.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = _batches(values, truth, training, options.batch_size, options.seed)
    held_out = _batches(values, truth, validation, options.batch_size, None)
    best = _keep_best(options.epochs)
    model.fit(batches, validation_data=held_out, epochs=options.epochs, verbose=0, shuffle=False, callbacks=[best])
    logits = model.predict(held_out, verbose=0)
    if not np.isfinite(logits).all():
        raise CommandFailed("fitting diverged (the loss is not a number): lower --learning-rate")
    return Fitted(logits, fit_temperature(logits, truth[validation]), best.epoch, tuple(best.history))


def _batches(
    values: np.ndarray, truth: np.ndarray, rows: np.ndarray, batch_size: int, seed: int | None
) -> keras.utils.PyDataset:
    """Batches of some rows; with a seed in an order that is new in each epoch and the same in each run."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self._order, self._epoch = rows, 0
            self._shuffle()

        def _shuffle(self) -> None:
            if seed is not None:
                self._order = np.random.default_rng((seed, self._epoch)).permutation(rows)

        def on_epoch_end(self) -> None:
            self._epoch += 1
            self._shuffle()

        def __len__(self) -> int:
            return math.ceil(len(self._order) / batch_size)

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = self._order[number * batch_size : (number + 1) * batch_size]
            return values[chosen], truth[chosen]

    return Batches()


def _keep_best(epochs: int) -> Any:
    """A Keras callback that shows the epochs, remembers them, and restores the best one at the end."""
    import keras

    class KeepBest(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.epoch = 0
            self.history: list[dict[str, float]] = []
            self._rank, self._weights = (-1.0, 0.0), None
            self._progress = Progress("fitting", epochs, "epochs")

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.history.append({name: float(value) for name, value in logs.items()})
            rank = (logs["val_accuracy"], -logs["val_loss"])
            if rank > self._rank:
                self._rank, self.epoch, self._weights = rank, epoch + 1, self.model.get_weights()
            self._progress.advance(
                1, f"loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.3f}  validation {logs['val_accuracy']:.3f}"
            )

        def on_train_end(self, logs: dict[str, float]) -> None:
            if self._weights is not None:
                self.model.set_weights(self._weights)
            self._progress.__exit__()

    return KeepBest()
