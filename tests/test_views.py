"""Models with several views of each photo, from training to classification: all commands agree."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue import model_dir
from tests.conftest import train_arguments

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def model(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.task import main

    path = tmp_path_factory.mktemp("models") / "views"
    words = ("--backbone", "residual", "--image-size", 32, "--epochs", 3, "--views", "crop,pad", "--augment")
    assert main(train_arguments(drawn, path, *words)) == 0
    return path


def test_all_commands_classify_with_the_views_of_the_model(
    model: Path, drawn: Path, command: Command, tmp_path: Path
) -> None:
    assert model_dir.read(model).info.image.views == ("crop", "pad")
    done = command("trainer", "predict", "--model-dir", model, "--json", drawn)
    assert done.returncode == 0, done.stderr
    predicted = {row["uri"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert len(predicted) > 30
    for engine in ("tensorflow", "openvino"):
        run = tmp_path / engine
        flags = ["--engine", engine, "--precision", "float32"]
        done = command("pipeline", "classify", "--input", drawn, "--model-dir", model, "--output", run, *flags)
        assert done.returncode == 0, done.stderr
        (part,) = (run / "predictions").iterdir()
        rows = {row["uri"]: row for row in map(json.loads, part.read_text().splitlines())}
        assert rows.keys() == predicted.keys()
        for uri, row in rows.items():
            assert row["label"] == predicted[uri]["label"]
            assert row["score"] == pytest.approx(predicted[uri]["score"], abs=1e-3)


def test_the_graph_that_decodes_makes_the_same_views(model: Path, drawn: Path, command: Command) -> None:
    import tensorflow as tf

    (photo,) = sorted(drawn.rglob("*.jpg"))[:1]
    found = tf.saved_model.load(str(model)).signatures["serve_bytes"](data=tf.constant([photo.read_bytes()]))
    done = command("trainer", "predict", "--model-dir", model, "--json", photo)
    row = json.loads(done.stdout)
    assert found["labels"].numpy()[0][0].decode() == row["label"]
    assert found["scores"].numpy()[0][0] == pytest.approx(row["score"], abs=0.1)


def test_frozen_layers_run_over_views_and_their_augmented_copies(drawn: Path, command: Command, tmp_path: Path) -> None:
    """The metrics that training measures with cached activations equal those of ``evaluate``."""
    import keras

    from trainer.networks import backbones, cutting

    keras.backend.clear_session()  # restarts the numbering of layers, as in the process of the command
    backbone = backbones.build("residual", "none", 32, view_count=2)
    backbone.layers[-1].save_weights(tmp_path / "residual.weights.h5")
    layer = next(name for name, tensor in cutting.cut_tensors(backbone).items() if tensor.shape[1] == 8)
    for file in drawn.rglob("*0.jpg"):
        place = tmp_path / "validation" / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes() + b"\0")  # different bytes, same picture
    words = [
        "--backbone",
        "residual",
        "--image-size",
        32,
        "--views",
        "crop,pad",
        "--epochs",
        2,
        "--precision",
        "float32",
    ]
    words += ["--weights", tmp_path / "residual.weights.h5", "--validation-data", tmp_path / "validation"]
    for fine_tune, more in (("none", ()), (layer, ("--augment", "--copies", 2))):
        model, output = tmp_path / fine_tune, tmp_path / f"evaluated-{fine_tune}"
        done = command("trainer", "train", *train_arguments(drawn, model, *words, "--fine-tune", fine_tune, *more))
        assert done.returncode == 0, done.stderr
        flags = ["--model-dir", model, "--data", tmp_path / "validation", "--output", output]
        assert command("trainer", "evaluate", *flags).returncode == 0
        measured = json.loads((output / "evaluation.json").read_text())
        trained = model_dir.read(model).info.metrics
        assert measured["examples"] == trained["examples"] >= 6
        assert measured["log_loss"] == pytest.approx(trained["log_loss"], rel=1e-2)


def test_inspect_and_a_head_that_is_trained_on_the_model(
    model: Path, drawn: Path, command: Command, tmp_path: Path
) -> None:
    (photo,) = sorted(drawn.rglob("*.jpg"))[:1]
    done = command("trainer", "inspect", "--model-dir", model, "--image", photo, "--output", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    words = ("--backbone", "residual", "--image-size", 32, "--epochs", 1, "--weights", model / "model.keras")
    done = command("trainer", "train", *train_arguments(drawn, tmp_path / "one", *words, "--fine-tune", "none"))
    assert done.returncode == 0, done.stderr
    assert "starting from the weights of backbone residual" in done.stderr


def test_views_and_resize_exclude_each_other(command: Command, drawn: Path, tmp_path: Path) -> None:
    for flags, message in (
        (["--views", "crop,pad", "--resize", "pad"], "--views and --resize cannot be combined"),
        (["--views", "crop,fit"], "argument --views: unknown resize rule 'fit': choose from crop, pad, stretch"),
    ):
        done = command("trainer", "train", *train_arguments(drawn, tmp_path / "model", *flags))
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
