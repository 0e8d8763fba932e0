"""The ``inspect`` command."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogue import model_dir
from trainer.__main__ import main
from trainer.commands import inspect_page
from trainer.networks import activations, backbones, kernels
from trainer.networks.activation import Activation
from trainer.networks.network import Network

SIDE = 32


@pytest.fixture(scope="module")
def classifier() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    return Network.on(backbones.build("residual", "none", SIDE), 3).calibrated(1.0)


def test_lists_every_layer_with_its_parameters(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--model-dir", str(tiny_model)]) == 0
    lines = capfd.readouterr().out.splitlines()
    layers = json.loads((tiny_model / "model.json").read_text())["network"]
    assert [line.split()[0] for line in lines[1:-1]] == [layer["name"] for layer in layers]
    import keras

    total = keras.models.load_model(tiny_model / "model.keras").count_params()
    assert lines[-1] == f"{len(layers)} layers, {total:,} parameters, {total:,} of them fitted"


def test_layers_know_what_they_take() -> None:
    import keras

    keras.backend.clear_session()  # restarts the numbering of layers
    layers = {layer["name"]: layer for layer in Network.on(backbones.build("MobileNetV2", "none", SIDE), 3).layers()}
    assert layers["block_2_add"]["inputs"] == ["block_1_project_BN", "block_2_project_BN"]
    assert layers["features"]["inputs"] == ["global_average_pooling2d"]
    assert layers["logits"]["fitted"]
    assert not layers["Conv1"]["fitted"]
    assert layers["Conv1"]["parameters"] == 3 * 3 * 3 * 32


def test_activations_are_those_of_the_layers(classifier: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = activations.activations(classifier, image, None)
    assert [activation.values.shape[0] for activation in found] == [32, 16, 8]  # one for each size of feature map
    (last,) = activations.activations(classifier, image, ["global_average_pooling2d"])
    expected = classifier.layers[1](image[np.newaxis]).numpy()[0]
    np.testing.assert_allclose(last.values, expected, rtol=1e-4, atol=1e-5)


def test_activations_of_views_are_those_that_decide() -> None:
    import keras

    keras.backend.clear_session()  # restarts the numbering of layers
    made = Network.on(backbones.build("residual", "none", SIDE, view_count=2), 3, hidden_units=(5,)).calibrated(1.0)
    image = np.random.default_rng(0).integers(0, 256, (2 * SIDE, SIDE, 3), dtype=np.uint8)
    found = {item.layer: item.values for item in activations.activations(made, image, None)}
    assert [values.shape[:2] for values in found.values()] == [(64, 32), (32, 16), (16, 8)]
    names = ["global_average_pooling2d", "hidden_1", "logits"]
    features, _, logits = (item.values for item in activations.activations(made, image, names))
    expected = made.layers[1](image[np.newaxis])
    np.testing.assert_allclose(features, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, made.layers[2](expected)[0], rtol=1e-4, atol=1e-5)
    (name, *_) = found
    single = Network.on(backbones.build("residual", "none", SIDE), 3).calibrated(1.0)
    single.layers[1].set_weights(made.layers[1].get_weights())
    last = [layer.name for layer in single.layers[1].layers[-1].layers if layer.output.shape[1] == 32][-1]
    for number, values in enumerate(np.split(found[name], 2)):
        view = image[number * SIDE : (number + 1) * SIDE]
        np.testing.assert_allclose(
            values, activations.activations(single, view, [last])[0].values, rtol=1e-4, atol=1e-5
        )


def test_operations_can_be_looked_at() -> None:
    import keras

    pixels = keras.Input((8, 8, 3))
    network = keras.Model(pixels, keras.layers.Flatten()(pixels * 2.0))
    images = keras.Input((8, 8, 3), dtype="uint8")
    preparation = keras.Model(images, keras.ops.cast(images, "float32"), name="preparation")
    outer = keras.Input((8, 8, 3), dtype="uint8")
    network_on = Network.on(keras.Model(outer, network(preparation(outer))), 2)
    made, image = network_on.calibrated(1.0), np.full((8, 8, 3), 7, np.uint8)
    listed = [layer["name"] for layer in network_on.layers()]
    assert activations.layer_names(made, every=True) == listed
    (found,) = activations.activations(made, image, [name for name in listed if name.startswith("multiply")])
    assert (found.values == 14).all()


def test_layers_of_the_head_and_networks_without_maps() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    made = Network.on(backbones.build("pixels", "none", 8), 3, hidden_units=(5,)).calibrated(1.0)
    found = {item.layer: item.values for item in activations.activations(made, image, None)}
    assert {"hidden_1", "logits"} <= set(found)
    np.testing.assert_allclose(found["logits"], made.layers[2](made.layers[1](image[np.newaxis])).numpy()[0], rtol=1e-4)
    logits, flat = activations.activations(made, image, ["logits", made.layers[1].layers[-1].layers[-1].name])
    assert (logits.values.shape, flat.values.shape) == ((3,), (192,))
    assert not activations.heat_map(made, image, 0).any()


def test_the_heat_is_where_the_reason_is() -> None:
    """The network predicts label 1 for red and label 0 for blue: the heat must be on the side of that color."""
    import keras

    network = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.AveragePooling2D(4)])
    x = network.inputs[0]
    maps = keras.layers.Conv2D(2, 1, use_bias=False, name="maps")(network(x))
    backbone_network = keras.Model(x, keras.layers.GlobalAveragePooling2D()(maps))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0, 0] = kernel[0, 0, 2, 1] = 1 / 255
    backbone_network.get_layer("maps").set_weights([kernel])
    images = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    preparation = keras.Model(images, keras.ops.cast(images, "float32"), name="preparation")
    outer = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    backbone = keras.Model(outer, backbone_network(preparation(outer)))
    made = Network.on(backbone, 2)
    made.head.set_weights([np.array([[-1, 1], [1, -1]], np.float32), np.zeros(2, np.float32)])
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, : SIDE // 2, 0] = 255  # red on the left
    image[:, SIDE // 2 :, 2] = 255  # blue on the right
    for label, side in ((1, slice(None, 4)), (0, slice(4, None))):
        heat = activations.heat_map(made.calibrated(1.0), image, label)
        assert heat.shape == (8, 8)
        assert heat[:, side].min() == 1
        assert heat.sum() == 32


def test_the_overlay_is_red_where_the_heat_is() -> None:
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    shown = inspect_page.overlaid(image, np.array([[0.0, 1.0]], np.float32)).astype(int)
    assert shown[10, 30, 0] > 150
    assert shown[10, 30, 2] < 100
    assert np.ptp(shown[10, 1]) <= 3


def test_the_drawing_has_an_arc_for_each_skip_connection(tiny_model: Path) -> None:
    network = tuple(Network.on(backbones.build("residual", "none", SIDE), 3).layers())
    place = {layer["name"]: number for number, layer in enumerate(network)}
    skips = sum(number - place[name] > 1 for number, layer in enumerate(network) for name in layer["inputs"])
    text = inspect_page.drawing(dataclasses.replace(model_dir.read(tiny_model).info, network=network))
    assert text.count("<path") == skips > 0
    assert text.count("<li ") == len(network)


def test_a_page_of_a_photo(tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photo = drawn / "hat/00.jpg"
    arguments = ["inspect", "--model-dir", str(tiny_model), "--image", str(photo), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main(["predict", "--model-dir", str(tiny_model), "--json", str(photo)]) == 0
    *_, labels, last = capfd.readouterr().out.splitlines()
    del labels
    text = (tmp_path / "out/report.html").read_text()
    assert f"heat map for {json.loads(last)['label']}" in text
    assert text.count("filter 1 of") >= 3
    assert text.count("<li ") == len(model_dir.read(tiny_model).info.network)
    few = text.count("<img")
    assert main([*arguments[:-1], str(tmp_path / "all"), "--all-filters", "--layers", "max_pooling2d"]) == 0
    assert (tmp_path / "all/report.html").read_text().count("filter ") >= 2 * 32  # each filter has a caption and a hint
    assert few < 20


def test_units_of_a_dense_layer_are_squares_of_one_picture() -> None:
    values = np.arange(7, dtype=np.float32)
    (figure,) = inspect_page.shown(Activation("hidden_1", values), inspect_page.Filters())
    assert "7 units, row by row<br>0.00 to 6.00" in figure
    encoded = re.search(r"data:image/jpeg;base64,([^\"]*)", figure)
    assert encoded
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded[1]))).convert("L")).astype(float)
    side = len(picture) // 3  # three rows of three squares, of which the last two have no unit
    squares = [picture[y : y + side, x : x + side].mean() for y in (0, side, 2 * side) for x in (0, side, 2 * side)]
    np.testing.assert_allclose(squares, [255 * value / 6 for value in (*range(7), 0, 0)], atol=8)
    assert inspect_page.shown(Activation("hidden_1", values), inspect_page.Filters([8])) == []


def test_all_layers_a_filter_kernels_and_photos_and_models_side_by_side(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    words = ["--data", str(drawn), "--model-dir", str(other), "--image-size", "16", "--epochs", "1"]
    assert main(["train", *words, "--backbone", "convolutional", "--convolutions", "7,5"]) == 0
    photos = [str(drawn / "hat/00.jpg"), str(drawn / "dress/01.jpg")]
    capfd.readouterr()
    flags = ["--image", *photos, "--output", str(tmp_path / "out"), "--layers", "all", "--filters", "4", "--kernels"]
    assert main(["inspect", "--model-dir", str(tiny_model), str(other), *flags]) == 0
    said = capfd.readouterr().out
    assert [line for line in said.splitlines() if line.endswith(".jpg:")] == [
        f"{path}: {photo}:" for path in (tiny_model, other) for photo in photos
    ]
    text = (tmp_path / "out/report.html").read_text()
    for model in (tiny_model, other):
        layers = json.loads((model / "model.json").read_text())["network"]
        for layer in layers[1:]:
            section = text.split(f"<h2>{layer['name']}</h2>")[-1].split("<h2>")[0]
            for photo in photos:
                assert layer["name"] == "features" or f"<h3>{model} · {Path(photo).name} · " in section
    assert text.count("filter 4 of 7<br>") >= 2 + 1  # feature maps of two photos, and a kernel
    assert "filter 1 of" not in text
    assert f"<h2>{other} kernels of conv2d: 3 × 3 × 3 × 7</h2>" in text
    look = ["--model-dir", str(tiny_model), str(other), "--output", str(tmp_path / "one"), "--kernels"]
    assert main(["inspect", *look, "--layers", "conv2d", "conv2d_4"]) == 0  # the other network has no conv2d_4
    assert main(["inspect", *look[:-2], str(tmp_path / "two"), "--kernels", "--layers", "conv2d", "typo"]) == 2
    assert "unknown layer 'typo'" in capfd.readouterr().err
    look = ["--model-dir", str(tiny_model), "--output", str(tmp_path / "three"), "--image", photos[0]]
    assert main(["inspect", *look, "--layers", "conv2d", "--filters", "999"]) == 2
    assert "no chosen layer has filter 999" in capfd.readouterr().err
    assert not (tmp_path / "three").exists()
    assert text.count("filter 4 of 5, channel ") == 3  # the first of seven channels


def test_a_kernel_is_drawn_as_it_is(tiny_model: Path) -> None:
    import keras

    classifier = keras.models.load_model(tiny_model / "model.keras", compile=False)
    (name, found), *_ = kernels.kernels(classifier, None).items()
    layer = classifier.layers[1].layers[-1].get_layer(name)
    np.testing.assert_array_equal(found, layer.get_weights()[0])
    (figure,) = inspect_page.kernel_figures(name, found, inspect_page.Filters([2]))
    data = base64.b64decode(figure.split("base64,")[1].split('"')[0])
    picture = np.asarray(Image.open(io.BytesIO(data)).resize(found.shape[:2], Image.Resampling.BOX), float)
    own = found[..., 1]
    expected = 255 * (own - own.min()) / np.ptp(own)
    assert np.corrcoef(picture.ravel(), expected.ravel())[0, 1] > 0.95


def test_a_depthwise_convolution_has_a_kernel_for_each_channel() -> None:
    made = Network.on(backbones.build("MobileNetV2", "none", SIDE), 3).calibrated(1.0)
    found = kernels.kernels(made, ["block_1_depthwise", "block_1_depthwise_BN"])
    assert {name: kernel.shape for name, kernel in found.items()} == {"block_1_depthwise": (3, 3, 1, 96)}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--kernels"], "--kernels needs --output"),
        (
            ["--kernels", "--output", "{new}", "--layers", "logits"],
            "--kernels: no layer of --layers logits has kernels: choose convolutions",
        ),
        (["--filters", "1", "--all-filters"], "--filters and --all-filters cannot be combined"),
        (["--image", "{drawn}/hat/00.jpg"], "--image needs --output"),
        (["--output", "{drawn}"], "exists: choose another folder"),
        (["--image", "{drawn}/none.jpg", "--output", "{new}"], "cannot be read as a photo: not_found"),
        (
            ["--image", "{drawn}/hat/00.jpg", "--output", "{new}", "--layers", "conv9"],
            "--layers: unknown layer 'conv9': choose one of the layers listed above",
        ),
    ],
)
def test_bad_use_is_one_line(
    flags: list[str], words: str, tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places: dict[str, Path] = {"drawn": drawn, "new": tmp_path / "new"}
    assert main(["inspect", "--model-dir", str(tiny_model), *(flag.format(**places) for flag in flags)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "new").exists()
