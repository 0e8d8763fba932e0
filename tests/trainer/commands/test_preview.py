"""The ``preview`` command on small drawn pictures."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

from catalogue import model_dir
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec
from trainer.__main__ import main
from trainer.data.examples import Example
from trainer.data.photos import Photo, read_photo


def run(data: Path, output: Path, *more: object) -> int:
    return main(["preview", "--data", str(data), "--output", str(output), *map(str, more)])


def counts(text: str) -> dict[str, list[int]]:
    """Parse the printed table: class -> photos on each side of the split."""
    rows = re.findall(r"^(dress|hat|shoes) +([\d ]+)$", text, re.MULTILINE)
    return {label: list(map(int, numbers.split())) for label, numbers in rows}


@pytest.mark.parametrize("more", [(), ("--validation-fraction", 0.3, "--test-fraction", 0.2)])
def test_the_split_is_that_of_training(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: tuple[object, ...]
) -> None:
    assert run(drawn, tmp_path / "out", *more) == 0
    found = counts(capfd.readouterr().err)
    words = ["--data", str(drawn), "--model-dir", str(tmp_path / "model"), "--backbone", "pixels", "--epochs", "1"]
    assert main(["train", *words, *map(str, more)]) == 0
    assert counts(capfd.readouterr().err) == found
    data = model_dir.read(tmp_path / "model").info.data
    sides = [data[f"{name}_photos"] for name in ("training", "validation", "test")]
    assert [sum(column) for column in zip(*found.values(), strict=True)] == [count for count in sides if count]


def test_it_shows_photos_of_each_side_numbers_and_variants(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(drawn, tmp_path / "more")
    for file in sorted((tmp_path / "more").rglob("*.jpg")):
        file.write_bytes(file.read_bytes() + b"\0")  # different bytes, same pictures
    sides = ("--validation-data", tmp_path / "more", "--image-size", 16)
    assert run(drawn, tmp_path / "plain", *sides) == 0
    assert "the first photo: 16 × 16 × 3, uint8, " in capfd.readouterr().out
    plain = (tmp_path / "plain/report.html").read_text()
    assert re.findall("<h2>([^<]*)", plain) == [
        "Photos of each class", "Some training photos", "Some validation photos", "The first photo",
    ]  # fmt: skip
    assert plain.count("data:image/jpeg") == 24 + 24 + 1
    numbers = re.findall(r"<pre>([^<]*)", plain)
    assert [np.array(re.findall(r"\d+", text), int).shape for text in numbers] == [(256,)] * 3
    assert run(drawn, tmp_path / "varied", *sides, "--augment") == 0
    varied = (tmp_path / "varied/report.html").read_text()
    pictures = re.findall(r'src="(data:image/jpeg[^"]*)', varied.split("<h2>The first photo, augmented")[1])
    assert len(set(pictures)) == len(pictures) == 24


def test_grayscale_photos_are_shown_as_the_network_sees_them(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ("--image-size", 16, "--color-mode", "grayscale", "--augment")
    assert run(drawn, tmp_path / "out", *flags) == 0
    assert "the first photo: 16 × 16, gray, uint8, " in capfd.readouterr().out
    text = (tmp_path / "out/report.html").read_text()
    (shown,) = re.findall(r"<pre>([^<]*)", text)
    first = re.findall(r'alt="([^"]*)"', text.split("<h2>The first photo")[1])[0]
    photo = read_photo(Example(first, ""), ImageSpec(16), DEFAULT_LIMITS)
    assert isinstance(photo, Photo)
    gray = keras.ops.convert_to_numpy(keras.ops.image.rgb_to_grayscale(photo.image.astype("float32")))[..., 0]
    assert np.abs(np.array(re.findall(r"\d+", shown), int).reshape(16, 16) - gray).max() <= 1
    for picture in re.findall(r'src="data:image/jpeg;base64,([^"]*)', text.split("<h2>The first photo")[1]):
        with PIL.Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=-1).max() == 0


def test_what_cannot_be_read_is_left_out_as_in_training(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    for number in range(6):
        (data / f"hat/broken-{number}.jpg").write_bytes(b"no picture %d" % number)
    assert run(data, tmp_path / "out") == 0
    errors = capfd.readouterr().err
    assert "skipped unreadable photos: 6 of 42 (6 unknown_format)" in errors
    assert sum(counts(errors)["hat"]) == 12
    for file in (data / "hat").iterdir():
        file.write_bytes(b"no picture")
    assert run(data, tmp_path / "none") == 2
    assert "no readable training photos of 'hat'" in capfd.readouterr().err
    (tmp_path / "list.csv").write_text("uri,label\n/none/1.jpg,a\n/none/2.jpg,b\n")
    assert run(tmp_path / "list.csv", tmp_path / "none") == 2
    assert "found 2 files, but none can be read as a photo" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_page_that_is_there_is_not_replaced(drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    assert run(drawn, tmp_path / "out") == 2
    assert f"--output {tmp_path}/out exists: choose another folder" in capfd.readouterr().err
    assert run(tmp_path / "none", tmp_path / "new") == 2
    assert not (tmp_path / "new").exists()
