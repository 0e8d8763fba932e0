"""Networks with their own tops. Random weights stand in for ImageNet weights with tops, which are not available."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogue import model_dir
from catalogue.cli.errors import UserError
from catalogue.model_dir import saved_model
from trainer.__main__ import main
from trainer.networks import pretrained

SIDE = 96
INDEX = {str(n): [f"n{n:08}", f"thing_{n}"] for n in range(1000)}
INDEX |= {"134": ["n02012849", "crane"], "517": ["n03126707", "crane"], "6": ["n00000006", "hat"]}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of class names that Keras would download."""
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", INDEX)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A Keras network with its top, and a file of its weights."""
    import keras

    keras.utils.set_random_seed(0)
    made = keras.applications.MobileNetV2(weights=None, input_shape=(SIDE, SIDE, 3))
    # Without batch norm statistics of these images, random layers would make all outputs alike.
    for layer in made.layers:
        layer.momentum = 0.0
    made(np.random.default_rng(0).uniform(-1, 1, (16, SIDE, SIDE, 3)), training=True)
    made.layers[-1].set_weights([3 * weights for weights in made.layers[-1].get_weights()])
    path = tmp_path_factory.mktemp("weights") / "top.weights.h5"
    made.save_weights(path)
    return made, path


def test_names_are_distinct_and_labels_are_found_by_name_and_by_id(names: None) -> None:
    classes = pretrained.classes()
    assert len(set(classes.names)) == len(classes.names) == 1000
    assert classes.names[:2] == ("thing 0", "thing 1")
    assert (classes.names[134], classes.names[517]) == ("crane (n02012849)", "crane (n03126707)")
    labels = ["Thing_7", "n03126707", "thing 999", "crane", "", "thing 1000", "hat"]
    assert classes.numbers_of(labels).tolist() == [7, 517, 999, -1, -1, -1, 6]


def test_names_that_cannot_be_had_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", None)
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX_PATH", "http://127.0.0.1:9/names.json")
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(UserError, match="the names of ImageNet's classes cannot be read"):
        pretrained.classes()


def written(path: Path, network: tuple[Any, Path], data: Path, *more: object) -> int:
    flags = ["--head", "imagenet", "--weights", network[1], "--image-size", SIDE, "--model-dir", path, "--data", data]
    return main(["train", *map(str, [*flags, *more])])


def test_says_of_any_photos_what_keras_says(
    names: None,
    network: tuple[Any, Path],
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    classify: Callable[..., int],
    read_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    """Compare the SavedModel on unlabeled photos with Keras's `predict` and `decode_predictions`."""
    import keras

    (tmp_path / "photos").mkdir()
    for number, path in enumerate(sorted(drawn.rglob("*.jpg"))[::12]):
        Image.open(path).resize((SIDE, SIDE)).save(tmp_path / f"photos/{number}.png")
    assert written(tmp_path / "model", network, tmp_path / "photos") == 0
    model = model_dir.read(tmp_path / "model")
    assert model.info.metrics == {}
    assert model.info.temperature == 1
    assert model.info.training["as_it_is"]
    assert model.info.data["validation_photos"] == 0
    paths = sorted((tmp_path / "photos").iterdir())
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    prepared = keras.applications.mobilenet_v2.preprocess_input(images.astype(np.float32))
    expected = network[0].predict(prepared, verbose=0)
    np.testing.assert_allclose(saved_model.load(model)(images), expected, atol=1e-5)
    capsys.readouterr()
    assert main(["predict", "--model-dir", str(tmp_path / "model"), "--json", *map(str, paths)]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    decoded = keras.applications.imagenet_utils.decode_predictions(expected, top=3)
    for photo, top in zip(said, decoded, strict=True):
        assert [item["label"] for item in photo["top"]] == [name.replace("_", " ") for _, name, _ in top]
    text = (tmp_path / "model/report.html").read_text()
    assert "Samples" in text
    assert "Confusion" not in text
    assert classify(tmp_path / "photos", tmp_path / "model", tmp_path / "run") == 0
    labels = {Path(row["uri"]).name: row["label"] for row in read_rows(tmp_path / "run")}
    assert labels == {path.name: photo["label"] for path, photo in zip(paths, said, strict=True)}
    table = capsys.readouterr().out
    assert f"{labels['0.png']} " in table
    assert "3 predictions, 0 dead letters" in table


def test_photos_with_labels_of_imagenet_are_measured(
    names: None, network: tuple[Any, Path], drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of the three folders of drawn pictures is named like a class of ImageNet."""
    assert written(tmp_path / "model", network, drawn) == 0
    info = model_dir.read(tmp_path / "model").info
    assert info.data["validation_photos"] == info.metrics["examples"] == 12
    assert info.metrics["per_class"]["hat"]["support"] == 12
    assert "accuracy " in capfd.readouterr().err
    assert written(tmp_path / "gated", network, drawn, "--fail-under", "recall:hat=1") == 1
    assert not (tmp_path / "gated").exists()
    evaluated = ["--data", str(drawn), "--output", str(tmp_path / "evaluation")]
    assert main(["evaluate", "--model-dir", str(tmp_path / "model"), *evaluated]) == 2
    assert "'dress', 'shoes'" in capfd.readouterr().err
    shutil.copytree(drawn / "hat", tmp_path / "by id/n00000006")
    evaluated = ["--data", str(tmp_path / "by id"), "--output", str(tmp_path / "evaluation")]
    assert main(["evaluate", "--model-dir", str(tmp_path / "model"), *evaluated]) == 0
    found = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert found["accuracy"] == info.metrics["accuracy"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--hidden-units", "8"], "omit --hidden-units"),
        (["--fine-tune", "top"], "omit --fine-tune"),
        (["--augment"], "omit --augment"),
        (["--mixup", "1"], "omit --mixup"),
        (["--epochs", "5"], "omit --epochs"),
        (["--dropout", "0.9"], "omit --dropout"),
        (["--fail-under", "accuracy=0.5"], "but --data has none"),
        (["--backbone", "small"], "needs a network of keras.applications"),
        (["--weights", "none"], "or omit --weights none"),
    ],
)
def test_flags_that_cannot_be_combined_with_it_are_refused(
    names: None, network: tuple[Any, Path], drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    flags: list[str], says: str,
) -> None:  # fmt: skip
    weights = [] if "--backbone" not in flags else ["--weights", "none"]
    assert written(tmp_path / "model", network, drawn / "shoes", *flags, *weights) == 2
    assert says in capfd.readouterr().err
    assert not (tmp_path / "model").exists()


def test_weights_without_the_top_are_refused(
    names: None, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    made = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    made.save_weights(tmp_path / "no-top.weights.h5")
    assert written(tmp_path / "model", (made, tmp_path / "no-top.weights.h5"), drawn) == 2
    assert "cannot be loaded as the weights of MobileNetV2 with its top" in capfd.readouterr().err
