from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from catalogue.model_dir import directory as model_dir
from catalogue.model_dir.directory import ModelDirError


def test_a_spec_of_another_version_is_refused(model_copy: Path) -> None:
    image = json.loads((model_copy / "model.json").read_text())["image"]
    for change in ({"resize": "squash"}, {"color_space": "Display P3"}):
        edit(model_copy, sign=True, image=image | change)
        with pytest.raises(ModelDirError, match=r"squash|Display P3"):
            model_dir.read(model_copy)


def test_holds_what_the_design_says(tiny_model: Path) -> None:
    names = {file.name for file in tiny_model.iterdir()}
    served = {"saved_model.pb", "variables", "assets", "fingerprint.pb"}
    assert names == served | {"model.json", "golden", "model.keras", "report.html"}
    info = json.loads((tiny_model / "model.json").read_text())
    assert info["labels"] == ["dress", "hat", "shoes"]
    assert info["image"] == {"size": 32, "resize": "crop", "color_space": "sRGB"}
    assert info["training"]["backbone"] == "small"
    assert sum(info["class_shares"].values()) == pytest.approx(1)
    assert info["data"]["training_photos"] + info["data"]["validation_photos"] == 36
    assert "EXIF" in info["signatures"]["serve_bytes"]
    assert {"accuracy", "log_loss", "per_class", "confusion"} <= set(info["metrics"])


def test_the_keras_network_gives_the_same_probabilities(tiny_model: Path) -> None:
    import keras

    images, golden = model_dir.read(tiny_model).golden()
    network = keras.models.load_model(tiny_model / "model.keras")
    np.testing.assert_allclose(network.predict(images, verbose=0), golden, atol=1e-5)


def edit(path: Path, sign: bool = False, **changes: object) -> None:
    """Changes ``model.json`` as a person would, or, with `sign`, as a program of another version would."""
    content = json.loads((path / "model.json").read_text()) | changes
    if sign:
        content.pop("checksum")
        content["checksum"] = model_dir._checksum(content)
    (path / "model.json").write_text(json.dumps(content))


def test_a_folder_that_is_no_model_directory(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "no such folder"), (tmp_path, "has no model.json")):
        with pytest.raises(ModelDirError, match=words):
            model_dir.read(path)
    (tmp_path / "model.json").write_text('{"name": "another program\'s"}')
    with pytest.raises(ModelDirError, match="something else"):
        model_dir.read(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelDirError, match="cannot be read"):
        model_dir.read(tmp_path)


@pytest.mark.parametrize("file", ["saved_model.pb", "golden/00.png", "model.keras", "variables/variables.index"])
def test_an_incomplete_directory_is_refused(model_copy: Path, file: str) -> None:
    (model_copy / file).unlink()
    with pytest.raises(ModelDirError, match=rf"incomplete: {file} missing"):
        model_dir.read(model_copy)


def test_a_newer_format_is_refused(model_copy: Path) -> None:
    edit(model_copy, sign=True, format=model_dir.FORMAT + 1)
    with pytest.raises(ModelDirError, match="format 2, this version reads 1"):
        model_dir.read(model_copy)


@pytest.mark.parametrize("change", [{"labels": ["shoes", "hat", "dress"]}, {"temperature": 2.0}, {"metrics": {}}])
def test_an_edited_description_is_refused(model_copy: Path, change: dict[str, object]) -> None:
    edit(model_copy, **change)
    with pytest.raises(ModelDirError, match="was edited"):
        model_dir.read(model_copy)


def test_a_changed_file_is_refused(model_copy: Path) -> None:
    with (model_copy / "saved_model.pb").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelDirError, match=r"changed after it was written: saved_model.pb"):
        model_dir.read(model_copy)


def test_another_image_policy_is_refused(model_copy: Path) -> None:
    edit(model_copy, sign=True, policy=model_dir.POLICY + 1)
    with pytest.raises(ModelDirError, match="policy 2"):
        model_dir.read(model_copy)


def test_golden_images_that_do_not_come_out_right_are_refused(model_copy: Path) -> None:
    """Weights of another training, described as if they were these."""
    model = model_dir.read(model_copy)
    images, golden = model.golden()
    model.check_golden(lambda batch: golden.copy())
    model.check_golden(lambda batch: golden + 0.5e-3)
    with pytest.raises(ModelDirError, match="does not reproduce its golden images"):
        model.check_golden(lambda batch: np.roll(golden, 1, axis=1))
    with pytest.raises(ModelDirError, match=r"differs by 0\.01"):
        model.check_golden(lambda batch: golden - 0.01)
    with pytest.raises(ModelDirError, match="does not reproduce"):
        model.check_golden(lambda batch: np.where(golden == golden.max(), np.nan, golden))
    with pytest.raises(ModelDirError, match="gives 2 classes"):
        model.check_golden(lambda batch: golden[:, :2])
    assert images.shape[1:] == (32, 32, 3)


def test_loading_replays_the_golden_images(model_copy: Path) -> None:
    file = model_copy / "golden/probabilities.json"
    golden = json.loads(file.read_text())
    file.write_text(json.dumps({name: row[::-1] for name, row in golden.items()}))
    files = json.loads((model_copy / "model.json").read_text())["files"]
    edit(model_copy, sign=True, files=files | {"golden/probabilities.json": model_dir.file_digest(file)})
    model = model_dir.read(model_copy)
    with pytest.raises(ModelDirError, match="does not reproduce its golden images"):
        model.load()


def test_the_id_changes_with_what_changes_a_prediction(tiny_model: Path) -> None:
    import dataclasses

    import keras

    info = model_dir.read(tiny_model).info
    network = keras.models.load_model(tiny_model / "model.keras")
    assert model_dir._model_id(network, info) == model_dir._model_id(
        network, dataclasses.replace(info, created="later")
    )
    for other in ({"labels": info.labels[::-1]}, {"temperature": info.temperature + 0.1}, {"policy": info.policy + 1}):
        assert model_dir._model_id(network, dataclasses.replace(info, **other)) != model_dir._model_id(network, info)
    before = model_dir._model_id(network, info)
    kernel = network.trainable_weights[0]
    kernel.assign(kernel + 1e-3)
    assert model_dir._model_id(network, info) != before


def test_a_model_is_put_back_if_the_new_one_cannot_be_moved(
    tiny_model: Path, model_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_dir.workplace(str(model_copy)) as workplace:
        new = Path(shutil.copytree(tiny_model, workplace / "model"))
        rename, calls = os.rename, []

        def fail_second(source: object, target: object) -> None:
            calls.append(source)
            if len(calls) == 2:
                raise OSError("the disk is full")
            rename(source, target)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "rename", fail_second)
        with pytest.raises(OSError, match="the disk is full"):
            model_dir.publish(new, str(model_copy))
    assert model_dir.read(model_copy).info == model_dir.read(tiny_model).info
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_remote_directories_are_published_and_fetched(tiny_model: Path, tmp_path: Path) -> None:
    path = f"ram://models/{base64.b32encode(os.urandom(5)).decode()}"
    model_dir.publish(Path(shutil.copytree(tiny_model, tmp_path / "new")), path)
    with model_dir.fetched(path) as model:
        assert model.info == model_dir.read(tiny_model).info
    with (
        pytest.raises(ModelDirError, match="ram://models/none is no model directory"),
        model_dir.fetched("ram://models/none"),
    ):
        pass
