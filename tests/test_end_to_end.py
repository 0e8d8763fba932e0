"""The whole workflow on real photos: train, evaluate and classify agree with each other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def evaluation(
    clothing_model: Path, clothing: Path, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("evaluation") / "out"
    arguments = ("--model-dir", clothing_model, "--data", clothing / "validation", "--output", output)
    done = command("trainer", "evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def run(clothing_model: Path, clothing: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    arguments = ("--input", clothing / "validation", "--model-dir", clothing_model, "--output", output, "--top-k", 10)
    done = command("pipeline", "classify", *arguments, "--precision", "float32")
    assert done.returncode == 0, done.stderr
    line, *others = done.stderr.splitlines()
    assert all(other.startswith(("listing: ", "classifying: ")) for other in others), done.stderr
    assert line.startswith(f"classifying {clothing / 'validation'} with model ")
    assert line.endswith(" on FnApiRunner")
    return output


def test_the_validation_accuracy_is_that_of_a_good_linear_probe(clothing_model: Path) -> None:
    metrics = json.loads((clothing_model / "model.json").read_text())["metrics"]
    assert metrics["examples"] == 341
    assert metrics["accuracy"] >= 0.845


def test_evaluate_finds_what_training_found(clothing_model: Path, evaluation: Path) -> None:
    trained = json.loads((clothing_model / "model.json").read_text())["metrics"]
    evaluated = json.loads((evaluation / "evaluation.json").read_text())
    assert evaluated["accuracy"] == pytest.approx(trained["accuracy"], abs=1e-6)
    assert evaluated["log_loss"] == pytest.approx(trained["log_loss"], abs=1e-3)


def test_both_sides_give_the_same_answer_for_every_photo(
    evaluation: Path, run: Path, read_rows: Rows, clothing: Path
) -> None:
    lines = (evaluation / "predictions.jsonl").read_text().splitlines()
    expected = {str(Path(row["uri"]).resolve()): row for row in map(json.loads, lines)}
    rows = read_rows(run)
    assert {str(Path(row["uri"]).resolve()) for row in rows} == set(expected)
    hits = 0
    for row in rows:
        other = expected[str(Path(row["uri"]).resolve())]
        scores = {entry["label"]: entry["score"] for entry in row["top"]}
        assert scores == pytest.approx(other["scores"], abs=1e-4)
        hits += row["label"] == Path(row["uri"]).parent.name
    accuracy = json.loads((evaluation / "evaluation.json").read_text())["accuracy"]
    assert hits / len(rows) == pytest.approx(accuracy, abs=1e-9)


def test_two_processes_give_the_rows_of_one(
    clothing_model: Path, clothing: Path, run: Path, read_rows: Rows, command: Command, tmp_path: Path
) -> None:
    done = command(
        "pipeline", "classify", "--input", clothing / "validation", "--model-dir", clothing_model,
        "--output", tmp_path / "two", "--top-k", 10, "--precision", "float32",
        "--direct_running_mode=multi_processing", "--direct_num_workers=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for one, two in zip(read_rows(run), read_rows(tmp_path / "two"), strict=True):
        assert (one["uri"], one["label"], one["content_hash"]) == (two["uri"], two["label"], two["content_hash"])
        for entry, other in zip(one["top"], two["top"], strict=True):
            assert entry["score"] == pytest.approx(other["score"], abs=1e-5)


@pytest.mark.parametrize(("engine", "least"), [("auto", 0.98), ("tensorflow", 0.98)])
def test_every_engine_gives_the_labels_of_float32(
    engine: str, least: float, clothing_model: Path, clothing: Path, run: Path, read_rows: Rows, command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    arguments = ("--input", clothing / "validation", "--model-dir", clothing_model, "--output", tmp_path / "run")
    done = command("pipeline", "classify", *arguments, "--engine", engine)
    assert done.returncode == 0, done.stderr
    pairs = list(zip(read_rows(run), read_rows(tmp_path / "run"), strict=True))
    assert all(one["uri"] == other["uri"] for one, other in pairs)
    assert sum(one["label"] == other["label"] for one, other in pairs) / len(pairs) >= least
    (chosen,) = json.loads((tmp_path / "run/run.json").read_text())["engines"]
    assert chosen["engine"] == (engine if engine != "auto" else "openvino")
    assert chosen["images"] == len(pairs)
    assert f"{len(pairs)} images by {chosen['engine']} in {chosen['precision']}" in done.stdout


def test_predict_agrees(clothing_model: Path, clothing: Path, run: Path, read_rows: Rows, command: Command) -> None:
    rows = read_rows(run)[::100]
    done = command("trainer", "predict", "--json", "--model-dir", clothing_model, *(row["uri"] for row in rows))
    assert done.returncode == 0, done.stderr
    for answer, row in zip(map(json.loads, done.stdout.splitlines()), rows, strict=True):
        assert (answer["uri"], answer["label"]) == (row["uri"], row["label"])
        assert answer["score"] == pytest.approx(row["score"], abs=1e-3)


def test_odd_images_among_real_photos_are_accounted_for(
    clothing_model: Path, shared: Path, clothing: Path, read_rows: Rows, command: Command, tmp_path: Path
) -> None:
    odd = sorted((shared / "datasets/odd-images").iterdir())
    photos = sorted((clothing / "validation/hat").iterdir())
    (tmp_path / "list.txt").write_text("\n".join(map(str, [*odd, *photos])))
    arguments = ("--input", tmp_path / "list.txt", "--model-dir", clothing_model, "--output", tmp_path / "run")
    done = command("pipeline", "classify", *arguments)
    assert done.returncode == 1
    assert "--max-failure-rate 0.05" in done.stderr
    predicted, failed = read_rows(tmp_path / "run"), read_rows(tmp_path / "run", "dead_letters")
    assert {row["uri"] for row in predicted} | {row["uri"] for row in failed} == set(map(str, [*odd, *photos]))
    assert len(predicted) + len(failed) == len(odd) + len(photos)
    assert {str(photo) for photo in photos} <= {row["uri"] for row in predicted}
