from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer.networks import backbones
from trainer.networks.network import Network

SIDE = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def backbone() -> Any:
    return backbones.build("MobileNetV2", "none", SIDE)


def logits(network: Network) -> np.ndarray:
    """Compute logits with the frozen part and then the fitted part, as fitting does."""
    return network.fitted(network.lower(IMAGES) if network.lower else IMAGES).numpy()


@pytest.mark.parametrize(
    ("fine_tune", "cut", "share"),
    [
        ("none", "none", 0.0),
        ("top", "block_6_project_BN", 0.96),
        ("block_14_add", "block_14_add", 0.5),
        ("all", "all", 1),
    ],
)
def test_what_is_fitted_and_what_is_frozen(backbone: Any, fine_tune: str, cut: str, share: float) -> None:
    network = Network.on(backbones.build("MobileNetV2", "none", SIDE), 5, fine_tune=fine_tune)
    assert network.cut == cut
    weights = sum(variable.numpy().size for variable in network.backbone.trainable_weights)
    fitted = sum(v.numpy().size for v in network.fitted.trainable_weights) - (1280 + 1) * 5
    assert fitted == weights  # all backbone weights that are not frozen
    total = sum(variable.numpy().size for variable in backbone.trainable_weights)
    assert fitted / total == pytest.approx(share, abs=0.25)
    np.testing.assert_allclose(logits(network), network.head(network.backbone(IMAGES)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fine_tune", ["none", "block_6_project_BN", "all"])
def test_the_features_of_views_are_averaged(backbone: Any, fine_tune: str) -> None:
    of_two = backbones.build("MobileNetV2", "none", SIDE, view_count=2)
    of_two.set_weights(backbone.get_weights())
    network = Network.on(of_two, 5, fine_tune=fine_tune)
    other = np.random.default_rng(1).integers(0, 256, IMAGES.shape, dtype=np.uint8)
    pairs = np.concatenate([IMAGES, other], axis=1)
    expected = (backbone(IMAGES) + backbone(other)) / 2
    np.testing.assert_allclose(network.backbone(pairs), expected, rtol=1e-4, atol=1e-5)
    values = network.lower(pairs) if network.lower else pairs
    assert values.shape[0] == len(IMAGES)  # a row for each photo
    np.testing.assert_allclose(network.fitted(values), network.head(expected), rtol=1e-4, atol=1e-5)


def test_the_calibrated_network_divides_by_the_temperature(backbone: Any) -> None:
    network = Network.on(backbone, 4, hidden_units=(7,))
    exponents = np.exp(logits(network) / 40)
    expected = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(network.calibrated(40)(IMAGES), expected, atol=1e-5)


def test_hidden_units_and_dropout(backbone: Any) -> None:
    import keras

    kinds = [type(layer) for layer in Network.on(backbone, 4, hidden_units=(64, 32), dropout=0.3).head.layers]
    dense, dropout = keras.layers.Dense, keras.layers.Dropout
    assert kinds == [keras.layers.InputLayer, dense, dropout, dense, dropout, dense]
    assert Network.on(backbone, 4).head.count_params() == (1280 + 1) * 4


def test_batch_normalization_can_be_kept_as_it_is() -> None:
    import keras

    for frozen in (True, False):
        network = Network.on(backbones.build("MobileNetV2", "none", SIDE), 2, fine_tune="top", freeze_batch_norm=frozen)
        layer = network.backbone.layers[-1].get_layer("block_12_project_BN")
        assert isinstance(layer, keras.layers.BatchNormalization)
        before = layer.moving_mean.numpy()
        network.fitted(network.lower(IMAGES), training=True)  # type: ignore[misc]
        assert np.array_equal(before, layer.moving_mean.numpy()) is frozen
