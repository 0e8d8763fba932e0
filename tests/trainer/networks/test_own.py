from __future__ import annotations

import numpy as np
import pytest

from trainer.networks import backbones
from trainer.networks.names import OWN_IMAGE_SIZES, Layers, default_image_size
from trainer.networks.own import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_gives_features_of_images_of_its_own_size(name: str) -> None:
    size = default_image_size(name)
    model = backbones.build(name, "none", size)
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    features = model(images).numpy()
    assert features.shape == (2, model.output_shape[1])
    assert np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])


def test_pixels_are_scaled_or_not() -> None:
    images = (
        np.array([[0, 51], [102, 255]], np.uint8).repeat(4, 0).repeat(4, 1)[np.newaxis, ..., np.newaxis].repeat(3, 3)
    )
    raw = backbones.build("raw-pixels", "none", 8)(images).numpy()
    np.testing.assert_array_equal(raw, images.reshape(1, -1))
    scaled = backbones.build("pixels", "none", 8)(images).numpy()
    np.testing.assert_allclose(scaled, images.reshape(1, -1) / 255, rtol=1e-6)


def test_the_published_small_network_has_its_parameters() -> None:
    """The numbers for three convolutions of 32, 64 and 128 filters on gray 28 × 28 pictures were computed by hand."""
    model = backbones.build("convolutional", "none", 28, "grayscale")
    assert model.count_params() == (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128
    assert model.output_shape == (None, 3 * 3 * 128)


@pytest.mark.parametrize(
    ("layers", "parameters", "features"),
    [
        (Layers((35, 35, 45)), (9 + 1) * 35 + (9 * 35 + 1) * 35 + (9 * 35 + 1) * 45, 3 * 3 * 45),
        (Layers((8,), kernel=5, pooling="average"), (25 + 1) * 8, 14 * 14 * 8),
        (Layers((8, 4), strides=2, pooling="none"), (9 + 1) * 8 + (9 * 8 + 1) * 4, 7 * 7 * 4),
    ],
)
def test_its_layers_are_those_that_are_asked_for(layers: Layers, parameters: int, features: int) -> None:
    model = backbones.build("convolutional", "none", 28, "grayscale", layers)
    assert model.count_params() == parameters
    assert model.output_shape == (None, features)
    kinds = {type(layer).__name__ for layer in model.layers[-1].layers}
    assert ("AveragePooling2D" in kinds, "MaxPooling2D" in kinds) == (
        layers.pooling == "average",
        layers.pooling == "max",
    )


def test_each_has_a_size_that_is_known_without_keras() -> None:
    assert list(OWN_IMAGE_SIZES) == list(NETWORKS)
