"""Model directories of earlier versions stay readable; one of them is kept in the test data."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue import model_dir
from catalogue.model_dir import ModelInfo, saved_model
from catalogue.model_dir.info import checksum

# Fields of the first model.json ever written. Fields added later must have a default.
FIRST_FIELDS = {
    "id", "labels", "image", "policy", "temperature", "class_shares", "metrics", "training", "data", "versions",
    "created", "files",
}  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A model directory written by version 0.1.0, before the code was split into three packages."""
    return Path(shutil.copytree(Path(__file__).parents[2] / "data/model_format_1", tmp_path / "model"))


def test_a_model_directory_of_an_earlier_version_is_read_and_run(kept: Path) -> None:
    model = model_dir.read(kept)
    assert (model.info.labels, model.info.image.size) == (("dress", "hat", "shoes"), 8)
    saved_model.load(model)  # replays the golden images


def test_a_model_directory_of_an_earlier_version_classifies(
    kept: Path, drawn: Path, tmp_path: Path, classify: Callable[..., int]
) -> None:
    assert classify(drawn, kept, tmp_path / "run") == 0


def test_fields_that_came_later_may_be_missing(kept: Path) -> None:
    content = json.loads((kept / "model.json").read_text())
    content = {name: value for name, value in content.items() if name in FIRST_FIELDS | {"format"}}
    (kept / "model.json").write_text(json.dumps(content | {"checksum": checksum(content)}))
    assert model_dir.read(kept).info.network == ()


def test_every_field_that_came_later_has_a_default() -> None:
    without = {field.name for field in dataclasses.fields(ModelInfo) if field.default is dataclasses.MISSING}
    assert without == FIRST_FIELDS
