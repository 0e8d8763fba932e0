from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogue.cli.errors import UserError
from trainer.networks import backbones, cutting, names

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 75, 75, 3), dtype=np.uint8)


def test_every_network_of_keras_applications_is_known() -> None:
    names = backbones.names()
    assert {"small", "MobileNetV2", "ResNet50", "VGG16", "EfficientNetB0", "ConvNeXtTiny", "MobileNetV3Small"} <= set(
        names
    )
    assert len(names) >= 38


# One network for each kind of preprocessing: scaled to [-1, 1]; channels swapped and means subtracted; scaled by mean
# and standard deviation; inside the network; none.
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetB0", "MobileNetV3Small"])
def test_pixels_are_prepared_as_the_network_wants(name: str) -> None:
    import keras

    model = backbones.build(name, "none", 75)
    network = model.layers[-1]
    module = {
        "MobileNetV2": keras.applications.mobilenet_v2,
        "ResNet50": keras.applications.resnet,
        "DenseNet121": keras.applications.densenet,
        "EfficientNetB0": keras.applications.efficientnet,
        "MobileNetV3Small": keras.applications.mobilenet_v3,
    }[name]
    expected = network(module.preprocess_input(IMAGES.astype("float32")), training=False)
    np.testing.assert_allclose(model(IMAGES, training=False), expected, atol=1e-4)
    assert model.input.dtype == "uint8"


@pytest.mark.parametrize("name", ["MobileNetV2", "Xception", "EfficientNetB1", "EfficientNetV2S"])
def test_the_size_of_a_top_is_what_keras_builds_by_itself(name: str) -> None:
    import keras

    with keras.StatelessScope():  # avoids allocating the weights
        built = getattr(keras.applications, name)(weights=None)
    assert names.image_size_of_top(name) == built.input_shape[1]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("MobileNetV2", "block_6_project_BN"),
        ("VGG16", "block4_pool"),
        ("ConvNeXtTiny", "convnext_tiny_downsampling_block_1"),
    ],
)
def test_is_cut_behind_a_layer(name: str, layer: str) -> None:
    """The layer is the default cut; the lower and upper parts combined equal the whole network."""
    import keras

    keras.backend.clear_session()
    model = backbones.build(name, "none", 96)
    assert cutting.default_cut(model) == layer
    images = np.pad(IMAGES, ((0, 0), (0, 21), (0, 21), (0, 0)))
    lower, upper = cutting.split(model, layer)
    assert lower.output_shape[1] == 6
    np.testing.assert_allclose(upper(lower(images)), model(images), rtol=1e-4, atol=1e-5)


def test_is_never_cut_inside_a_residual_block() -> None:
    """A cut inside a residual block would separate the block's input from the addition that ends the block."""
    model = backbones.build("MobileNetV2", "none", 96)
    possible = list(cutting.cut_tensors(model))
    assert {"block_2_add", "block_3_expand", "block_3_depthwise"} <= set(possible)  # block 3 has no residual connection
    assert not {"block_2_expand", "block_2_depthwise_BN", "block_2_project"} & set(possible)
    with pytest.raises(UserError, match="cannot be cut after layer 'block_2_expand': give none, top, all, or a layer"):
        cutting.split(model, "block_2_expand")


def test_gray_pictures_have_one_channel() -> None:
    model = backbones.build("convolutional", "none", 28, "grayscale")
    assert model.layers[-1].input_shape == (None, 28, 28, 1)
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    gray = np.repeat(np.round(images @ [0.299, 0.587, 0.114])[..., np.newaxis], 3, axis=3).astype(np.uint8)
    np.testing.assert_allclose(model(images), model(gray), atol=0.02)
    with pytest.raises(UserError, match="needs three channels"):
        backbones.build("MobileNetV2", "none", 96, "grayscale")


def test_weights_of_a_file(tmp_path: object) -> None:
    file = f"{tmp_path}/mobilenet.weights.h5"
    import keras

    network = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3), pooling="avg")
    network.save_weights(file)
    model = backbones.build("MobileNetV2", file, 96)
    small = np.pad(IMAGES, ((0, 0), (0, 21), (0, 21), (0, 0)))
    prepared = keras.applications.mobilenet_v2.preprocess_input(small.astype("float32"))
    np.testing.assert_allclose(model(small, training=False), network(prepared, training=False), atol=1e-5)
    with pytest.raises(UserError, match=r"cannot be loaded as the weights of ResNet50"):
        backbones.build("ResNet50", file, 96)


@pytest.mark.parametrize(
    ("name", "weights", "size", "words"),
    [
        ("MobilNetV2", "none", 96, "unknown backbone 'MobilNetV2': did you mean MobileNet"),
        ("zzz", "none", 96, "unknown backbone 'zzz': choose one of small, pixels, "),
        ("small", "imagenet", 96, "the backbone 'small' has no ImageNet weights"),
        ("MobileNetV2", "/no/such/file.h5", 96, "weights file /no/such/file.h5 does not exist"),
        ("InceptionV3", "none", 32, "InceptionV3 cannot be built for images of 32 × 32 pixels"),
    ],
)
def test_what_cannot_be_built_is_an_error_of_one_line(name: str, weights: str, size: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        backbones.build(name, weights, size)


def test_imagenet_weights_whose_download_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n cut short")

    def cached(*_: object, **__: object) -> str:
        return str(file)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", cached)
    with pytest.raises(UserError, match=r"cannot be read .* delete its file"):
        backbones.build("MobileNetV2", "imagenet", 96)


def test_a_file_that_holds_no_weights(tmp_path: object) -> None:
    file = f"{tmp_path}/notes.h5"
    with open(file, "w") as notes:
        notes.write("not weights")
    with pytest.raises(UserError, match="cannot be loaded as the weights of MobileNetV2"):
        backbones.build("MobileNetV2", file, 96)
