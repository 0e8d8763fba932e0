"""The ``import`` command: classifiers that were trained elsewhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogue import model_dir
from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec
from trainer.__main__ import main
from trainer.data import idx

Command = Callable[..., "subprocess.CompletedProcess[str]"]
LABELS = ("dress", "hat", "shoes")
OUTPUTS = ("shoes", "dress", "hat")  # not in alphabetical order


def pictures(drawn: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    files = sorted(drawn.rglob("*.jpg"))
    images = np.stack([read_image(file.read_bytes(), ImageSpec(side, "stretch")) for file in files])
    return images.astype(np.float32), np.array([OUTPUTS.index(file.parent.name) for file in files])


@pytest.fixture(scope="module", params=[(".h5", "softmax", 3), (".keras", None, 3), (".keras", "softmax", 1)])
def trained(request: Any, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a classifier as a tutorial would train it: on pixels from 0 to 1, with plain Keras."""
    import keras

    ending, activation, channels = request.param
    images, truth = pictures(drawn, 24)
    images = images[..., :3] / 255 if channels == 3 else images @ np.array([0.2989, 0.587, 0.114])[:, np.newaxis] / 255
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.MaxPooling2D(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((24, 24, channels)), *layers, keras.layers.Dense(3, activation=activation)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile(keras.optimizers.Adam(0.003), loss)
    model.fit(images, truth, epochs=30, verbose=0)
    path = tmp_path_factory.mktemp("foreign") / f"clothes{ending}"
    model.save(path)
    return path


def run(trained: Path, data: Path, path: Path, *more: object) -> int:
    words = ["--model", trained, "--labels", ",".join(OUTPUTS), "--data", data, "--model-dir", path, *more]
    return main(["import", *map(str, words)])


def test_an_imported_model_gives_the_probabilities_of_the_original(
    trained: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: Command
) -> None:
    """All commands that classify with the imported model agree."""
    import keras

    assert run(trained, drawn, tmp_path / "model", "--preparation", "unit") == 0
    info = model_dir.read(tmp_path / "model").info
    assert info.labels == OUTPUTS
    foreign = keras.models.load_model(trained, compile=False)
    images, truth = pictures(drawn, 24)
    images = images / 255 if foreign.input_shape[3] == 3 else images @ np.array([0.2989, 0.587, 0.114])[:, None] / 255
    expected = foreign.predict(images, verbose=0)
    if expected.min() < 0:
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    assert info.metrics["accuracy"] == np.mean(expected.argmax(1) == truth) > 0.6
    run_dir = tmp_path / "run"
    flags = ["--engine", "openvino", "--precision", "float32"]
    done = command(
        "pipeline", "classify", "--input", drawn, "--model-dir", tmp_path / "model", "--output", run_dir, *flags
    )
    assert done.returncode == 0, done.stderr
    (part,) = (run_dir / "predictions").iterdir()
    rows = {row["uri"]: row for row in map(json.loads, part.read_text().splitlines())}
    for file, scores in zip(sorted(drawn.rglob("*.jpg")), expected, strict=True):
        assert rows[str(file)]["label"] == OUTPUTS[scores.argmax()]
        assert rows[str(file)]["score"] == pytest.approx(scores.max(), abs=2e-3)
    photo = sorted(drawn.rglob("*.jpg"))[0]
    look = ["--model-dir", tmp_path / "model", "--image", photo, "--output", tmp_path / "look", "--kernels"]
    assert main(["inspect", *map(str, look)]) == 0
    assert main(["evaluate", "--model-dir", str(tmp_path / "model"), "--data", str(drawn)]) == 0


def test_the_preparation_of_pixels_is_found_out_or_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The classifier distinguishes light from dark photos if pixels range from 0 to 1."""
    import keras

    for number in range(20):
        for name, brightness in (("dark", 0.48), ("light", 0.52)):
            place = tmp_path / "data" / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8 + number), (round(255 * brightness),) * 3).save(place)
    images = keras.Input((8, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D()(images)
    for name, middle in (("one", 0.5), ("any", -1e9)):
        dense = keras.layers.Dense(2)
        keras.Model(images, dense(mean)).save(tmp_path / "built.keras")
        dense.set_weights([np.array([[-100, 100]] * 3) / 3, np.array([middle, -middle]) * 100])
        keras.Model(images, dense(mean)).save(tmp_path / f"{name}.keras")
    words = ["--labels", "dark,light", "--data", str(tmp_path / "data"), "--model-dir", str(tmp_path / "model")]
    assert main(["import", "--model", str(tmp_path / "any.keras"), *words]) == 2
    assert "too close to choose: give the one that" in capfd.readouterr().err.splitlines()[-1]
    assert main(["import", "--model", str(tmp_path / "one.keras"), *words]) == 0
    assert "chose --preparation unit" in capfd.readouterr().err
    assert model_dir.read(tmp_path / "model").info.metrics["accuracy"] == 1


def test_a_network_inside_a_model_can_be_looked_into(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """For example, a model may consist of a pretrained network and a head."""
    import keras

    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    head = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")])
    images = keras.Input((32, 32, 3))
    built = keras.Model(images, head(base(images, training=False)))
    built.save(tmp_path / "clothes.keras")
    assert run(tmp_path / "clothes.keras", drawn, tmp_path / "model", "--preparation", "tf") == 0
    layers = {layer["name"] for layer in model_dir.read(tmp_path / "model").info.network}
    assert {"Conv1", "block_1_depthwise", "out_relu"} <= layers
    photo = sorted(drawn.rglob("*.jpg"))[0]
    capfd.readouterr()
    look = ["--model-dir", tmp_path / "model", "--image", photo, "--output", tmp_path / "look"]
    assert main(["inspect", *map(str, look), "--layers", "all", "--filters", "1", "--kernels"]) == 0
    pixels = read_image(photo.read_bytes(), ImageSpec(32, "stretch")).astype(np.float32) / 127.5 - 1
    expected = built.predict(pixels[np.newaxis], verbose=0)[0]
    words = capfd.readouterr().out.splitlines()[-3].split()
    assert (words[0], float(words[1])) == (OUTPUTS[expected.argmax()], pytest.approx(expected.max(), abs=1e-3))


def test_labels_of_idx_files_are_their_names(tmp_path: Path, shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import keras

    digits = f"{shared}/datasets/mnist/t10k-images-idx3-ubyte.gz"
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    images, numbers = idx.read_labeled(digits)
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images[..., np.newaxis] / 255.0, numbers, epochs=1, verbose=0)
    model.save(tmp_path / "digits.keras")
    words = ["--model", str(tmp_path / "digits.keras"), "--labels", ",".join(names), "--data", digits]
    assert main(["import", *words, "--preparation", "unit", "--model-dir", str(tmp_path / "model")]) == 0
    info = model_dir.read(tmp_path / "model").info
    assert info.labels == tuple(names)
    expected = model.predict(images[..., np.newaxis] / 255.0, verbose=0).argmax(1) == numbers
    assert info.metrics["accuracy"] == pytest.approx(expected.mean(), abs=2e-3)
    assert info.metrics["accuracy"] > 0.8


def test_a_model_of_images_of_any_size(drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import keras

    images = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 3, name="first")(images)
    one, other = keras.layers.Conv2D(4, 3, name="second")(maps), keras.layers.Conv2D(4, 3, name="third")(maps)
    both = keras.Model(images, [one, other], name="two_outputs")  # a nested model with two outputs
    inputs = keras.Input((None, None, 3))
    total = keras.layers.Add()(both(inputs))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(total))
    keras.Model(inputs, outputs).save(tmp_path / "any.keras")
    flags = ["--preparation", "unit"]
    assert run(tmp_path / "any.keras", drawn, tmp_path / "model", *flags) == 2
    assert "the model accepts images of any size: give --image-size" in capfd.readouterr().err
    assert run(tmp_path / "any.keras", drawn, tmp_path / "model", *flags, "--image-size", 4) == 2
    assert "image size 4 is too small" in capfd.readouterr().err
    assert run(tmp_path / "any.keras", drawn, tmp_path / "model", *flags, "--image-size", 32) == 0
    network = model_dir.read(tmp_path / "model").info.network
    assert all(None not in layer["output"] for layer in network)


def test_what_does_not_fit_is_refused(
    trained: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    (tmp_path / "no.keras").write_bytes(b"no model")
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]).save(tmp_path / "numbers.keras")
    keras.Sequential([keras.Input((20, 30, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]).save(
        tmp_path / "wide.keras"
    )
    place = tmp_path / "model"
    for words, message in (
        (["--model", tmp_path / "none.h5"], "is not a local file"),
        (["--model", tmp_path / "no.keras"], "cannot be read as a Keras"),
        (["--model", tmp_path / "unbuilt.keras"], "was saved before it was built"),
        (["--model", tmp_path / "numbers.keras"], "is not an image classifier"),
        (["--model", tmp_path / "wide.keras"], "images of 30 × 20 pixels: only square images are supported"),
        (["--labels", "dress,hat,shoes,spoon"], "the model needs 3 class names, but --labels has 4: name every class"),
        (["--labels", "dress,hat,spoon"], "--data has classes that --labels does not name: 'shoes'"),
        (["--image-size", 30], "the model needs images of 24 pixels a side"),
    ):
        assert run(trained, drawn, place, *words) == 2
        assert message in capfd.readouterr().err.splitlines()[-1]
        assert not place.exists()
    flags = ["--labels", "dress,hat,shoes", "--preparation", "unit", "--fail-under", "accuracy=0.6"]
    assert run(trained, drawn, place, *flags) == 1
    assert not place.exists()
