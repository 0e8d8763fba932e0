"""The ``evaluate`` and ``predict`` commands."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer import model_dir
from trainer.__main__ import main


def test_evaluate_measures_and_writes(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    (data / "hat/torn.jpg").write_bytes((data / "hat/00.jpg").read_bytes()[:3000])
    output = tmp_path / "evaluation"
    assert main(["evaluate", "--model-dir", str(tiny_model), "--data", str(data), "--output", str(output)]) == 0
    shown = capfd.readouterr().out
    result = json.loads((output / "evaluation.json").read_text())
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    assert result["examples"] == len(rows) == 36
    assert [photo["reason"] for photo in result["unreadable"]] == ["truncated"]
    assert np.mean([row["label"] == row["truth"] for row in rows]) == pytest.approx(result["accuracy"])
    assert f"accuracy {result['accuracy']:.4f}" in shown
    for row in rows:
        assert max(row["scores"], key=row["scores"].get) == row["label"]
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert "data:image/jpeg;base64," in (output / "report.html").read_text()


def test_evaluate_writes_to_any_file_system_of_tensorflow(tiny_model: Path, drawn: Path) -> None:
    import tensorflow as tf

    arguments = ["--model-dir", str(tiny_model), "--data", str(drawn), "--output", "ram://evaluations/1/"]
    assert main(["evaluate", *arguments]) == 0
    assert sorted(tf.io.gfile.listdir("ram://evaluations/1")) == ["evaluation.json", "predictions.jsonl", "report.html"]


def test_evaluate_counts_a_name_that_is_not_utf8(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    name = data / "hat" / os.fsdecode(b"caf\xe9.jpg")
    shutil.copy(data / "hat/00.jpg", name)
    output = tmp_path / "evaluation"
    assert main(["evaluate", "--model-dir", str(tiny_model), "--data", str(data), "--output", str(output)]) == 0
    (photo,) = json.loads((output / "evaluation.json").read_text())["unreadable"]
    assert (photo["uri"], photo["reason"]) == (str(name), "read_failed")


def test_predict_prints_the_labels_in_order(tiny_model: Path, drawn: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = [str(drawn / label / "01.jpg") for label in ("shoes", "dress")]
    assert main(["predict", "--model-dir", str(tiny_model), *photos]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == photos
    from trainer.preprocessing import read_image

    model = model_dir.read(tiny_model)
    images = np.stack([read_image(Path(photo).read_bytes(), model.info.image) for photo in photos])
    for line, row in zip(lines, model.load()(images), strict=True):
        assert line.split(": ")[1].split(",")[0] == f"{model.info.labels[row.argmax()]} {row.max():.4f}"


def test_predict_fails_for_what_is_no_photo_and_still_shows_the_rest(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = str(drawn / "hat/01.jpg")
    assert main(["predict", "--model-dir", str(tiny_model), str(tmp_path / "none.jpg"), good]) == 1
    shown = capfd.readouterr()
    assert "none.jpg: not classified, not_found" in shown.out.splitlines()[0]
    assert shown.out.splitlines()[1].startswith(f"{good}: ")
    assert "1 of 2 files could not be read" in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model-dir", "{empty}", "--data", "{drawn}"], "is no model directory: it has no model.json"),
        (["--model-dir", "{model}", "--data", "{empty}"], "has no sub-folders"),
        (["--model-dir", "{model}", "--data", "{strange}"], "classes that the model does not know: 'spoon'"),
        (["--model-dir", "{model}", "--data", "{drawn}", "--output", "{drawn}"], "exists: choose another folder"),
        (["--model-dir", "{model}", "--data", "{drawn}", "--output", "{drawn}/hat/00.jpg/x"], "cannot be made in"),
        (["--model-dir", "{model}", "--data", "{drawn}", "--outptu", "x"], "did you mean --output?"),
    ],
)
def test_bad_use_is_one_line(
    arguments: list[str], words: str, tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for label in ("hat", "spoon"):
        (tmp_path / "strange" / label).mkdir(parents=True)
        shutil.copy(drawn / "hat/00.jpg", tmp_path / "strange" / label)
    places = {"empty": tmp_path / "empty", "strange": tmp_path / "strange", "drawn": drawn, "model": tiny_model}
    assert main(["evaluate", *(argument.format(**places) for argument in arguments)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
