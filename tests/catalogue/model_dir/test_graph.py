from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

from catalogue.model_dir import bfloat16, graph


@pytest.fixture
def network() -> Any:
    """Build a network of several kinds of convolutions, followed by layers that can or cannot be folded into them."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    x = images = keras.Input((12, 12, 3))
    x = layers.ReLU()(layers.BatchNormalization(name="merged_0")(layers.Conv2D(8, 3, padding="same")(x)))
    x = layers.BatchNormalization(name="merged_1")(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x))
    x = layers.ReLU(6.0)(x)
    y = layers.BatchNormalization(name="merged_2")(layers.SeparableConv2D(16, 3, padding="same")(x))
    x = layers.Add()([x, y])
    x = layers.BatchNormalization(name="left_0")(x)  # follows a sum
    x = layers.Conv2D(4, 1, use_bias=False)(x)
    y = layers.BatchNormalization(name="left_1")(x)  # its input is also used unnormalized
    x = layers.Concatenate()([x, y])
    x = layers.Conv2D(5, 3, strides=2, use_bias=False)(x)
    model = keras.Model(images, layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    chance = np.random.default_rng(4)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights([chance.uniform(low, 2, shape) for low in (0.2, -1, -1, 0.1)])
    return model


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(6, 12, 12, 3)).astype(np.float32)


def function_of(network: Any) -> Any:
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 12, 12, 3), tf.float32)]
    call = tf.function(lambda x: network(x, training=False), input_signature=signature)
    return graph.constant(call.get_concrete_function())


def outputs_of(function: Any, images: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    (found,) = tf.nest.flatten(function(tf.constant(images)))
    return found.numpy()


def test_normalization_becomes_part_of_the_convolution_before_it(network: Any, images: np.ndarray) -> None:
    merged = graph.merged(function_of(network))
    np.testing.assert_allclose(outputs_of(merged, images), network.predict(images, verbose=0), rtol=1e-4, atol=1e-5)
    operations = merged.graph.get_operations()
    kinds = collections.Counter(operation.type for operation in operations)
    assert (kinds["Conv2D"], kinds["DepthwiseConv2dNative"], kinds["BiasAdd"]) == (4, 2, 3)
    left = {operation.name.split("/")[1] for operation in operations if operation.type in ("Mul", "Rsqrt")}
    assert {name for name in left if name.startswith(("merged", "left"))} == {"left_0_1", "left_1_1"}
    assert not any(operation.control_inputs for operation in operations)


def test_any_batch_can_be_run(network: Any, images: np.ndarray) -> None:
    merged = graph.merged(function_of(network))
    whole = outputs_of(merged, images)
    for count in (1, 4):
        np.testing.assert_allclose(outputs_of(merged, images[:count]), whole[:count], rtol=1e-5, atol=1e-6)


def test_kernels_are_changed_by_a_callback(images: np.ndarray) -> None:
    """Kernels are passed as [output channels, input channels, h, w], or [channels, multiplier, h, w] if depthwise."""
    import keras
    from keras import layers

    shapes = []

    def change(weights: np.ndarray) -> np.ndarray:
        shapes.append(weights.shape)
        return weights * np.arange(1, len(weights) + 1, dtype=np.float32).reshape(-1, 1, 1, 1)

    for layer, shape in (
        (layers.Conv2D(7, 3, use_bias=False), (7, 3, 3, 3)),
        (layers.DepthwiseConv2D(5, depth_multiplier=2, use_bias=False), (3, 2, 5, 5)),
    ):
        network = keras.Sequential([keras.Input((12, 12, 3)), layer])
        plain = network.predict(images, verbose=0)
        factors = np.repeat(np.arange(1, shape[0] + 1), plain.shape[-1] // shape[0])
        found = outputs_of(graph.with_kernels(function_of(network), change), images)
        assert shapes.pop() == shape
        np.testing.assert_allclose(found, plain * factors, rtol=1e-4, atol=1e-5)


def test_a_session_gives_the_same_outputs(network: Any, images: np.ndarray) -> None:
    function = function_of(network)
    (found,) = graph.in_session(function)(images)
    np.testing.assert_allclose(found, outputs_of(function, images), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not bfloat16.is_native(), reason="this processor has no instructions for bfloat16")
def test_bfloat16_gives_nearly_the_same_outputs(network: Any, images: np.ndarray) -> None:
    function = function_of(network)
    exact = outputs_of(function, images)
    (found,) = graph.in_session(function, in_bfloat16=True)(images)
    np.testing.assert_allclose(found, exact, atol=0.05 * exact.std())
    assert np.abs(found - exact).max() > 1e-4 * exact.std()  # proves that it ran in bfloat16
    (after,) = graph.in_session(function)(images)
    np.testing.assert_allclose(after, exact, rtol=1e-5, atol=1e-6)  # the setting does not leak into the process
