from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer import backbones
from trainer.console import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 75, 75, 3), dtype=np.uint8)


def test_every_network_of_keras_applications_is_known() -> None:
    names = backbones.names()
    assert {"small", "MobileNetV2", "ResNet50", "VGG16", "EfficientNetB0", "ConvNeXtTiny", "MobileNetV3Small"} <= set(
        names
    )
    assert len(names) >= 38


# One network of each kind of preprocessing: to [-1, 1], channels swapped and means taken away, scaled by mean and
# deviation, inside the network, none.
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetB0", "MobileNetV3Small"])
def test_pixels_are_prepared_as_the_network_wants(name: str) -> None:
    import keras

    model = backbones.build(name, "none", 75)
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
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


def test_weights_of_a_file(tmp_path: object) -> None:
    file = f"{tmp_path}/mobilenet.weights.h5"
    import keras

    network = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3), pooling="avg")
    network.save_weights(file)
    model = backbones.build("MobileNetV2", file, 96)
    small = np.pad(IMAGES, ((0, 0), (0, 21), (0, 21), (0, 0)))
    prepared = keras.applications.mobilenet_v2.preprocess_input(small.astype("float32"))
    np.testing.assert_allclose(model(small, training=False), network(prepared, training=False), atol=1e-5)
    with pytest.raises(UserError, match=r"do not fit ResNet50"):
        backbones.build("ResNet50", file, 96)


@pytest.mark.parametrize(
    ("name", "weights", "size", "words"),
    [
        ("MobilNetV2", "none", 96, "unknown backbone 'MobilNetV2': did you mean MobileNet"),
        ("zzz", "none", 96, "unknown backbone 'zzz': one of small, ConvNeXtBase"),
        ("small", "imagenet", 96, "no ImageNet weights of the backbone 'small'"),
        ("MobileNetV2", "/no/such/file.h5", 96, "no weights file /no/such/file.h5"),
        ("InceptionV3", "none", 32, "InceptionV3 cannot be built for images of 32 pixels"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_line(name: str, weights: str, size: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        backbones.build(name, weights, size)


def test_imagenet_weights_whose_download_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n cut short")

    def cached(*_: object, **__: object) -> str:
        return str(file)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", cached)
    with pytest.raises(UserError, match=r"were not read .* delete it"):
        backbones.build("MobileNetV2", "imagenet", 96)


def test_a_file_that_holds_no_weights(tmp_path: object) -> None:
    file = f"{tmp_path}/notes.h5"
    with open(file, "w") as notes:
        notes.write("not weights")
    with pytest.raises(UserError, match="do not fit MobileNetV2"):
        backbones.build("MobileNetV2", file, 96)
