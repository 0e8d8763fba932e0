from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogue import model_dir, storage
from catalogue.images.spec import POLICY
from catalogue.model_dir import ModelDirError, saved_model
from catalogue.model_dir.info import checksum


def test_a_spec_of_another_version_is_refused(model_copy: Path) -> None:
    image = json.loads((model_copy / "model.json").read_text())["image"]
    for change in ({"resize": "squash"}, {"color_space": "Display P3"}):
        edit(model_copy, sign=True, image=image | change)
        with pytest.raises(ModelDirError, match=r"squash|Display P3"):
            model_dir.read(model_copy)


def test_holds_what_the_design_says(tiny_model: Path) -> None:
    names = {file.name for file in tiny_model.iterdir()}
    served = {"saved_model.pb", "variables", "assets", "fingerprint.pb"}
    written = {"model.json", "golden", "model.keras", "report.html", "model_card.md", "training_photos.npy"}
    assert names == served | written
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
    """Edit ``model.json``; with `sign`, also update its checksum, as another version of the program would."""
    content = json.loads((path / "model.json").read_text()) | changes
    if sign:
        content.pop("checksum")
        content["checksum"] = checksum(content)
    (path / "model.json").write_text(json.dumps(content))


def test_a_folder_that_is_no_model_directory(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "no such folder"), (tmp_path, "has no model.json")):
        with pytest.raises(ModelDirError, match=words):
            model_dir.read(path)
    (tmp_path / "model.json").write_text('{"name": "another program\'s"}')
    with pytest.raises(ModelDirError, match="does not describe a model"):
        model_dir.read(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelDirError, match="cannot be read"):
        model_dir.read(tmp_path)


@pytest.mark.parametrize("file", ["saved_model.pb", "golden/00.png", "model.keras", "variables/variables.index"])
def test_an_incomplete_directory_is_refused(model_copy: Path, file: str) -> None:
    (model_copy / file).unlink()
    with pytest.raises(ModelDirError, match=rf"is incomplete \({file} missing\)"):
        model_dir.read(model_copy)


def test_a_newer_format_is_refused(model_copy: Path) -> None:
    edit(model_copy, sign=True, format=model_dir.FORMAT + 1)
    with pytest.raises(ModelDirError, match="format 2, but this version reads 1"):
        model_dir.read(model_copy)


@pytest.mark.parametrize("change", [{"labels": ["shoes", "hat", "dress"]}, {"temperature": 2.0}, {"metrics": {}}])
def test_an_edited_description_is_refused(model_copy: Path, change: dict[str, object]) -> None:
    edit(model_copy, **change)
    with pytest.raises(ModelDirError, match="was edited"):
        model_dir.read(model_copy)


def test_a_changed_file_is_refused(model_copy: Path) -> None:
    with (model_copy / "saved_model.pb").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelDirError, match=r"has changed since it was written \(saved_model\.pb\)"):
        model_dir.read(model_copy)


def test_the_list_of_label_issues_may_be_edited_and_deleted(model_copy: Path) -> None:
    issues = model_copy / "label_issues.csv"
    issues.write_text("uri,label\n")
    info = model_dir.ModelInfo.from_json(json.loads((model_copy / "model.json").read_text()))
    edit(model_copy, sign=True, files={**info.files, "label_issues.csv": "0" * 64})
    assert model_dir.read(model_copy).info.id == info.id
    issues.unlink()
    assert model_dir.read(model_copy).info.id == info.id


def test_another_image_policy_is_refused(model_copy: Path) -> None:
    edit(model_copy, sign=True, policy=POLICY + 1)
    with pytest.raises(ModelDirError, match=f"this version has policy {POLICY}"):
        model_dir.read(model_copy)


def test_golden_images_that_do_not_come_out_right_are_refused(model_copy: Path) -> None:
    """For example, a directory may combine this metadata with the weights of another training."""
    model = model_dir.read(model_copy)
    images, golden = model.golden()
    model.check_golden(lambda batch: golden.copy())
    model.check_golden(lambda batch: golden + 0.5e-3)
    with pytest.raises(ModelDirError, match=r"does not reproduce \d+ of its \d+ golden images"):
        model.check_golden(lambda batch: np.roll(golden, 1, axis=1))
    with pytest.raises(ModelDirError, match=r"differ by up to 0\.01"):
        model.check_golden(lambda batch: golden - 0.01)
    with pytest.raises(ModelDirError, match="does not reproduce"):
        model.check_golden(lambda batch: np.where(golden == golden.max(), np.nan, golden))
    with pytest.raises(ModelDirError, match="the model has 2 classes"):
        model.check_golden(lambda batch: golden[:, :2])
    assert images.shape[1:] == (32, 32, 3)


def test_loading_replays_the_golden_images(model_copy: Path) -> None:
    file = model_copy / "golden/probabilities.json"
    golden = json.loads(file.read_text())
    file.write_text(json.dumps({name: row[::-1] for name, row in golden.items()}))
    files = json.loads((model_copy / "model.json").read_text())["files"]
    edit(model_copy, sign=True, files=files | {"golden/probabilities.json": model_dir.file_digest(file)})
    model = model_dir.read(model_copy)
    with pytest.raises(ModelDirError, match=r"does not reproduce \d+ of its \d+ golden images"):
        saved_model.load(model)


def test_a_remote_directory_that_cannot_be_read() -> None:
    with (
        pytest.raises(ModelDirError, match="carrier-pigeon://loft cannot be read"),
        model_dir.fetched("carrier-pigeon://loft"),
    ):
        pass


def test_other_labels_are_refused_although_every_hash_is_right(model_copy: Path) -> None:
    edit(model_copy, sign=True, labels=["shoes", "hat", "dress"])
    with pytest.raises(ModelDirError, match="does not match its labels or image spec"):
        model_dir.read(model_copy)


def test_a_directory_of_the_first_version_has_no_hash_of_its_network(repository: Path) -> None:
    info = model_dir.read(repository / "tests/data/model_format_1").info
    assert info.network_hash == ""
    assert info.id != json.loads((repository / "tests/data/model_format_1/model.json").read_text())["id"]


def test_other_labels_have_another_id_also_without_a_hash_of_the_network(model_copy: Path) -> None:
    edit(model_copy, sign=True, network_hash="")
    before = model_dir.read(model_copy).info.id
    edit(model_copy, sign=True, labels=["shoes", "hat", "dress"])
    assert model_dir.read(model_copy).info.id != before


def test_a_link_to_a_folder_is_not_walked(model_copy: Path) -> None:
    (model_copy / "assets/again").symlink_to(model_copy)
    (model_copy / "assets/and again").symlink_to(model_copy)
    with pytest.raises(ModelDirError, match=r"not part of it \(assets/again, assets/and again\): remove them"):
        model_dir.read(model_copy)


@pytest.mark.parametrize("file", ["notes.txt", "assets/vocabulary.txt", "golden/99.png", ".hidden", "variables/more"])
def test_files_that_do_not_belong_to_the_model_are_refused(model_copy: Path, file: str) -> None:
    (model_copy / file).write_text("x")
    with pytest.raises(ModelDirError, match=rf"contains files that are not part of it \({file}\): remove them"):
        model_dir.read(model_copy)


@pytest.mark.parametrize("file", ["../outside.txt", "/etc/passwd", "golden/../golden/00.png"])
def test_invalid_paths_are_refused(model_copy: Path, file: str) -> None:
    (model_copy.parent / "outside.txt").write_text("x")
    files = json.loads((model_copy / "model.json").read_text())["files"]
    edit(model_copy, sign=True, files=files | {file: "0" * 64})
    with pytest.raises(ModelDirError, match="lists invalid paths"):
        model_dir.read(model_copy)


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"../../00.png": [1, 0, 0]}', '{"00.png": [1, 0, "x"]}'])
def test_invalid_golden_images_are_an_error_of_one_line(model_copy: Path, content: str) -> None:
    file = model_copy / "golden/probabilities.json"
    file.write_text(content)
    files = json.loads((model_copy / "model.json").read_text())["files"]
    edit(model_copy, sign=True, files=files | {"golden/probabilities.json": model_dir.file_digest(file)})
    with pytest.raises(ModelDirError, match="golden/ cannot be read") as error:
        saved_model.load(model_dir.read(model_copy))
    assert "\n" not in str(error.value)


def test_a_remote_directory_writes_nothing_outside_its_copy(
    tiny_model: Path, open_object_store: Callable[[str], Any]
) -> None:
    """Object names are untrusted."""
    root = open_object_store("s3").root
    for file in tiny_model.rglob("*"):
        if file.is_file():
            storage.copy(str(file), f"{root}/model/{file.relative_to(tiny_model)}")
    storage.write_text(f"{root}/model/../../outside.txt", "x")
    with (
        pytest.raises(ModelDirError, match=r"not part of it \(\.\./\.\./outside.txt\)"),
        model_dir.fetched(f"{root}/model"),
    ):
        pytest.fail("the model directory was fetched")
