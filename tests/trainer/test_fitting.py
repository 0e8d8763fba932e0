from __future__ import annotations

import numpy as np
import pytest

from trainer import fitting
from trainer.console import CommandFailed
from trainer.dataset import Example, Photo, Unreadable
from trainer.preprocessing import ImageError, Reason

OPTIONS = fitting.FitOptions(epochs=15, batch_size=16, learning_rate=0.05, dropout=0.0, seed=3)


def head(inputs: int, classes: int) -> object:
    import keras

    keras.utils.set_random_seed(0)
    features = keras.Input((inputs,))
    return keras.Model(features, keras.layers.Dense(classes)(features))


def separable(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 3, count)
    return (np.eye(3)[truth] * 2 + chance.normal(0, 0.8, (count, 3))).astype(np.float32), truth


def test_keeps_the_best_epoch_not_the_last() -> None:
    model = head(3, 3)
    values, truth = separable()
    options = fitting.FitOptions(epochs=12, batch_size=16, learning_rate=2.0, dropout=0.0, seed=3)  # too high: it jumps
    validation = np.arange(150, 200)
    fitted = fitting.fit(model, values, truth, np.arange(150), validation, options)
    accuracies = [epoch["val_accuracy"] for epoch in fitted.epochs]
    assert len(accuracies) == 12
    assert accuracies[-1] < max(accuracies)  # otherwise this test shows nothing
    assert accuracies[fitted.best_epoch - 1] == max(accuracies)
    accuracy = (fitted.logits.argmax(1) == truth[validation]).mean()
    assert accuracy == pytest.approx(max(accuracies), abs=1e-6)
    np.testing.assert_allclose(model(values[validation]), fitted.logits, atol=1e-4)


def test_the_same_seed_gives_the_same_weights() -> None:
    values, truth = separable()
    logits = []
    for _ in range(2):
        fitted = fitting.fit(head(3, 3), values, truth, np.arange(150), np.arange(150, 200), OPTIONS)
        logits.append(fitted.logits)
    np.testing.assert_array_equal(*logits)


def test_divergence_is_said() -> None:
    values, truth = separable()
    values[:20] = np.nan
    with pytest.raises(CommandFailed, match="lower --learning-rate"):
        fitting.fit(head(3, 3), values, truth, np.arange(150), np.arange(150, 200), OPTIONS)


def counting_backbone(calls: list[int]) -> object:
    """Means over the pixels; remembers how many images it has seen."""
    import keras
    import tensorflow as tf

    class Means(keras.layers.Layer):
        def call(self, images: object) -> object:
            tf.py_function(lambda count: calls.append(int(count)), [tf.shape(images)[0]], [])
            return keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2))

        def compute_output_shape(self, shape: tuple) -> tuple:
            return (shape[0], shape[-1])

    images = keras.Input((8, 8, 3), dtype="uint8")
    return keras.Model(images, Means()(images))


def test_the_frozen_part_sees_each_photo_once(tmp_path: object) -> None:
    calls: list[int] = []
    network = fitting.Network.on(counting_backbone(calls), 2, 0.0, freeze=True)
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    photos: list[Photo | Unreadable] = [Photo(Example(f"{n}.jpg", "ab"[n % 2]), f"{n}", images[n]) for n in range(10)]
    photos.insert(4, Unreadable(Example("broken.jpg", "a"), ImageError(Reason.EMPTY, "")))
    encoded = fitting.encode(iter(photos), 11, network, 4, str(tmp_path))
    seen = sum(calls)
    assert seen == 10
    np.testing.assert_allclose(encoded.values, images.mean((1, 2)), rtol=1e-5)
    assert encoded.paths == tuple(f"{n}.jpg" for n in range(10))  # a broken photo moves nobody's row
    assert [photo.example.path for photo in encoded.unreadable] == ["broken.jpg"]
    truth = np.arange(10) % 2
    fitting.fit(network.fitted, encoded.values, truth, np.arange(8), np.arange(8, 10), OPTIONS)
    assert sum(calls) == seen


def test_with_nothing_frozen_the_images_themselves_are_kept(tmp_path: object) -> None:
    network = fitting.Network.on(counting_backbone([]), 2, 0.0, freeze=False)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    photos = iter([Photo(Example(f"{n}.jpg", "a"), f"{n}", images[n]) for n in range(3)])
    encoded = fitting.encode(photos, 3, network, 2, str(tmp_path))
    np.testing.assert_array_equal(encoded.values, images)
    assert encoded.values.dtype == np.uint8


def test_the_calibrated_network_divides_by_the_temperature() -> None:
    network = fitting.Network.on(counting_backbone([]), 2, 0.0, freeze=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    logits = network.fitted(images.mean((1, 2)).astype(np.float32)).numpy()
    exponents = np.exp((logits - logits.max(1, keepdims=True)) / 40)
    expected = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(network.calibrated(40)(images), expected, atol=1e-5)
