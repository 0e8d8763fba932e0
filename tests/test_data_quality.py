"""Problems that ``train`` finds in real photos: near-duplicates and label issues."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.data.conftest import saved_again

Command = Callable[..., "subprocess.CompletedProcess[str]"]

TWICE = ("shorts/6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c.jpg", "skirt/637a56e4-7fa6-4f75-8859-0f8902461554.jpg")
"""One photo, encoded twice, with two labels."""


@pytest.fixture(scope="module")
def photos(clothing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of three classes, with a pair of near-duplicates and two photos in the wrong class."""
    folder = tmp_path_factory.mktemp("photos")
    for label, other in (("shorts", "shoes"), ("skirt", "skirt"), ("shoes", "shorts")):
        files = sorted((clothing / "train" / label).iterdir())[:40]
        for number, file in enumerate(files):
            place = other if number == 5 else label
            (folder / place).mkdir(exist_ok=True)
            (folder / place / file.name).write_bytes(file.read_bytes())
    for name in TWICE:
        (folder / name).write_bytes((clothing / "train" / name).read_bytes())
    return folder


@pytest.fixture
def train(command: Command, photos: Path, keras_home: Path) -> Callable[..., str]:
    def run(model: Path, *flags: object) -> str:
        done = command("trainer", "train", "--data", photos, "--model-dir", model, "--epochs", 5, *flags,
                       KERAS_HOME=str(keras_home))  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def test_problems_of_the_data_are_reported_and_can_be_dropped(
    train: Callable[..., str], photos: Path, clothing: Path, tmp_path: Path
) -> None:
    said = train(tmp_path / "model")
    one, other = (str(photos / name) for name in TWICE)
    assert "of near-duplicate photos, for example" in said
    twice = f"warning: near-duplicates with different labels: {one} (shorts), {other} (skirt)"
    assert twice in said or f"{other} (skirt), {one} (shorts)" in said
    assert "split between" not in said
    with (tmp_path / "model/label_issues.csv").open() as file:
        issues = list(csv.DictReader(file))
    wrong = {
        str(photos / other / sorted((clothing / "train" / label).iterdir())[5].name): label
        for label, other in (("shorts", "shoes"), ("shoes", "shorts"))
    }
    first = {row["uri"]: row["suggested"] for row in issues[:6]}
    assert wrong.keys() | {one, other} <= first.keys()
    assert {first[uri] for uri in (one, other)} == {"shorts", "skirt"}
    report = (tmp_path / "model/report.html").read_text()
    assert "Near-duplicates" in report
    assert "Labels that may be wrong" in report
    with (tmp_path / "drop.csv").open("w") as file:
        file.writelines(["uri\n", *(f"{uri}\n" for uri in wrong), "gone.jpg\n"])
    said = train(tmp_path / "without", "--drop", tmp_path / "drop.csv")
    assert f"omitted 2 photos named by --drop {tmp_path / 'drop.csv'}; no photo matches 1 other row" in said
    assert "gone.jpg" in said
    counts = [
        sum(json.loads((tmp_path / name / "model.json").read_text())["data"][f"{side}_photos"]
            for side in ("training", "validation"))
        for name in ("model", "without")
    ]  # fmt: skip
    assert counts[0] - counts[1] == 2


def test_validation_photos_that_are_resaved_training_photos_are_reported(
    train: Callable[..., str], photos: Path, tmp_path: Path
) -> None:
    for file in sorted(photos.rglob("*.jpg"))[::4]:
        place = tmp_path / "again" / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(saved_again(file, quality=75))
    count = len(list((tmp_path / "again").rglob("*.jpg")))
    said = train(tmp_path / "model", "--validation-data", tmp_path / "again")
    (line,) = (line for line in said.splitlines() if "split between --data and --validation-data" in line)
    assert int(line.split()[1]) >= count
