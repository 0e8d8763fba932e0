from __future__ import annotations

import numpy as np
import pytest

from catalogue.model_dir import bfloat16


def test_native_support_is_what_openvino_reports() -> None:
    import openvino

    assert bfloat16.is_native() == ("BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def test_rounds_to_the_nearest_as_tensorflow_does() -> None:
    import tensorflow as tf

    chance = np.random.default_rng(0)
    values = np.concatenate([chance.normal(0, scale, 5000) for scale in (1e-30, 1e-3, 1, 1e4)]).astype(np.float32)
    values = np.concatenate([values, np.float32([0, -0.0, 1, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8])])
    expected = tf.cast(tf.cast(values, tf.bfloat16), tf.float32).numpy()
    np.testing.assert_array_equal(bfloat16.rounded(values), expected)


def test_sums_stay_what_they_were() -> None:
    chance = np.random.default_rng(1)
    weights = chance.normal(size=(200, 9)).astype(np.float32)
    weights[:, 4] -= weights.sum(axis=1)  # like edge detectors: each row adds up to zero
    found = bfloat16.diffused(weights)
    np.testing.assert_array_equal(found, bfloat16.rounded(found))
    plainly = np.abs(bfloat16.rounded(weights).sum(axis=1) - weights.sum(axis=1))
    assert np.abs(found.sum(axis=1) - weights.sum(axis=1)).mean() < plainly.mean() / 10
    steps = np.abs(found - weights) / np.abs(weights)
    assert np.median(steps) < 2**-8  # each weight is still about as close as bfloat16 allows


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((8, 3, 3, 3), (2, 3)), ((8, 1, 1, 3, 3), (3, 4)), ((8, 40, 1, 1), (1, 2, 3)), ((4, 2, 30, 1, 1), (2, 3, 4))],
)
def test_sums_over_a_kernel_are_kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    weights = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    found = bfloat16.kernels(weights)
    assert found.shape == shape
    errors = [np.abs(rounded.sum(axis=axes) - weights.sum(axis=axes)).mean() for rounded in
              (found, bfloat16.rounded(weights))]  # fmt: skip
    assert errors[0] < errors[1] / 5
