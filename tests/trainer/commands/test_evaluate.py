"""The ``evaluate`` command."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogue import model_dir, storage
from tests.conftest import ObjectStore
from trainer.__main__ import main
from trainer.commands import evaluate as module
from trainer.data.examples import Example
from trainer.evaluation import inference


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


def test_photos_that_the_model_was_trained_on_are_reported(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    count = model_dir.read(tiny_model).info.data["training_photos"]
    assert evaluate(tiny_model, drawn) == 0
    assert f"warning: the model was trained on {count} of the 36 photos" in capfd.readouterr().out
    for file in sorted(drawn.rglob("*.jpg"))[::2]:
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        (tmp_path / file.parent.name / file.name).write_bytes(file.read_bytes() + b"x")  # different bytes
    assert evaluate(tiny_model, tmp_path) == 0
    assert "trained on" not in capfd.readouterr().out


def test_evaluate_writes_to_any_storage(
    tiny_model: Path, drawn: Path, open_object_store: Callable[[str], ObjectStore]
) -> None:
    root = open_object_store("s3").root
    arguments = ["--model-dir", str(tiny_model), "--data", str(drawn), "--output", f"{root}/"]
    assert main(["evaluate", *arguments]) == 0
    names = [file.location.removeprefix(f"{root}/") for file in storage.list_files(root)]
    assert sorted(names) == ["evaluation.json", "predictions.jsonl", "report.html"]


def test_evaluate_counts_a_name_that_is_not_utf8(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    name = data / "hat" / os.fsdecode(b"caf\xe9.jpg")
    shutil.copy(data / "hat/00.jpg", name)
    output = tmp_path / "evaluation"
    assert main(["evaluate", "--model-dir", str(tiny_model), "--data", str(data), "--output", str(output)]) == 0
    (photo,) = json.loads((output / "evaluation.json").read_text())["unreadable"]
    assert (photo["uri"], photo["reason"]) == (str(name), "read_failed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model-dir", "{empty}", "--data", "{drawn}"], "is not a model directory: it has no model.json"),
        (["--model-dir", "{model}", "--data", "{empty}"], "has no class subfolders"),
        (["--model-dir", "{model}", "--data", "{strange}"], "does not know: 'spoon'"),
        (["--model-dir", "{model}", "--data", "{drawn}", "--output", "{drawn}"], "exists: choose another folder"),
        (["--model-dir", "{model}", "--data", "{drawn}", "--output", "{drawn}/hat/00.jpg/x"], "cannot be created in"),
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


def evaluate(model: Path, data: Path, *more: object) -> int:
    return main(["evaluate", "--model-dir", str(model), "--data", str(data), *map(str, more)])


@pytest.fixture(scope="module")
def other_model(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained model with another network and image size; the order of its labels is that of `tiny_model`."""
    path = tmp_path_factory.mktemp("models") / "other"
    arguments = ["--backbone", "pixels", "--image-size", "16", "--epochs", "2", "--seed", "4"]
    assert main(["train", "--data", str(drawn), "--model-dir", str(path), *arguments]) == 0
    return path


def test_two_models_on_the_same_photos(
    tiny_model: Path, other_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--compare` reports the same flips as a comparison of the predictions of two separate evaluations."""
    labels = {}
    for name, model in (("old", other_model), ("new", tiny_model)):
        assert evaluate(model, drawn, "--output", tmp_path / name) == 0
        rows = [json.loads(line) for line in (tmp_path / name / "predictions.jsonl").read_text().splitlines()]
        labels[name] = {row["uri"]: (row["truth"], row["label"]) for row in rows}
    capfd.readouterr()
    assert evaluate(tiny_model, drawn, "--compare", other_model, "--output", tmp_path / "both") == 0
    found = json.loads((tmp_path / "both/evaluation.json").read_text())["comparison"]
    old, new = labels["old"], labels["new"]
    expected = {u for u, (truth, label) in new.items() if (truth == label) != (old[u][1] == truth)}
    assert expected
    assert {flip["uri"] for flip in found["flips"]} == expected
    assert all(flip["before"] == old[flip["uri"]][1] for flip in found["flips"])
    assert found["fixed"] + found["broken"] == len(expected)
    assert found["model_id"] == model_dir.read(other_model).info.id
    said = capfd.readouterr().out
    assert f"model {found['model_id']} of --compare has accuracy {found['accuracy_before']:.4f}, model " in said
    assert re.search(rf" {found['fixed']} photos? fixed, {found['broken']} broken, p = ", said)
    compared = (tmp_path / "both/report.html").read_text().split("<h2>Comparison</h2>")[1].split("<h2>")[0]
    flipped = {key: [flip for flip in found["flips"] if (new[flip["uri"]][0] == new[flip["uri"]][1]) == key]
               for key in (True, False)}  # fmt: skip
    assert compared.count("<figure") == sum(min(len(flips), 12) for flips in flipped.values()) > 0
    for label in {flip["before"] for flips in flipped.values() for flip in flips[:12]}:
        assert f"before: {label}<" in compared


def test_comparison_leaves_out_photos_that_the_other_model_cannot_read(
    tiny_model: Path, other_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify, left_out = inference.classify, set[str]()

    def classify_less(examples: Sequence[Example], total: int, *others: Any) -> inference.Classified:
        if left_out:
            return classify(examples, total, *others)
        left_out.update(example.uri for example in examples[:20])  # the first call is for --compare
        return classify(examples[20:], total, *others)

    monkeypatch.setattr(inference, "classify", classify_less)
    assert evaluate(tiny_model, drawn, "--compare", other_model, "--output", tmp_path / "out") == 0
    written = json.loads((tmp_path / "out/evaluation.json").read_text())
    found = written["comparison"]
    assert found["examples"] == written["examples"] - 20 == 16
    gain = (found["fixed"] - found["broken"]) / 16
    assert found["accuracy"] == pytest.approx(found["accuracy_before"] + gain)
    assert not left_out & {flip["uri"] for flip in found["flips"]}
    assert "photos both models read" in (tmp_path / "out/report.html").read_text()


def test_a_gate_that_is_missed_fails_the_command(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gates = ("--fail-under", "accuracy=0.01", "--fail-under", "recall:hat=1.0", "--fail-under", "macro_f1=1")
    assert evaluate(tiny_model, drawn, "--fail-under", "accuracy=0.01") == 0
    capfd.readouterr()
    assert evaluate(tiny_model, drawn, *gates, "--output", tmp_path / "out") == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "the model is not good enough: " in last
    assert "accuracy is" not in last
    assert "macro_f1 is" in last
    assert (tmp_path / "out/report.html").exists()  # the report shows the reason


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("accurcy=0.5", "names an unknown metric or class: give accuracy"),
        ("recall:spoon=0.5", "names an unknown metric"),
        ("accuracy=2", "'2' is not a number from 0 to 1"),
        ("0.5", "'0.5' is not METRIC=VALUE"),
    ],
)
def test_gates_that_make_no_sense(
    gate: str, words: str, tiny_model: Path, drawn: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code = evaluate(tiny_model, drawn, "--fail-under", gate)
    except SystemExit as end:  # from argparse
        code = int(end.code or 0)
    assert code == 2
    assert words in capfd.readouterr().err


def test_a_model_from_before_labels_were_normalized_knows_its_classes(tiny_model: Path) -> None:
    info = dataclasses.replace(model_dir.read(tiny_model).info, labels=("Hu\u0308te", "hat", "shoes"))
    found = module._by_name([Example("a", "H\u00fcte"), Example("b", "hat")], info)
    assert [example.label for example in found] == ["Hu\u0308te", "hat"]
