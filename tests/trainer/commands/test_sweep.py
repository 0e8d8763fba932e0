"""The ``sweep`` command on small drawn pictures."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from catalogue import model_dir
from trainer.__main__ import main
from trainer.commands import sweep_flags
from trainer.fitting import training

TINY = ("--backbone", "convolutional", "--image-size", "16", "--epochs", "3")


def run(data: Path, output: Path, *more: object) -> int:
    return main(["sweep", "--data", str(data), "--output", str(output), *TINY, *map(str, more)])


def test_tries_all_combinations_and_ranks_them(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos are read once, and ``train`` with the flags of the best trial gives the metrics of that trial."""
    prepared, prepare = [], training.prepare

    def counting(*arguments: object) -> object:
        prepared.append(arguments)
        return prepare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "prepare", counting)
    vary = (
        "--vary",
        "learning-rate",
        0.02,
        0.001,
        "--vary",
        "hidden-units",
        0,
        "8,4",
        "--vary",
        "label-smoothing",
        0.1,
    )
    assert run(drawn, tmp_path / "out", *vary) == 0
    assert len(prepared) == 1
    found = json.loads((tmp_path / "out/sweep.json").read_text())
    tried = [(trial["values"]["learning-rate"], trial["values"]["hidden-units"]) for trial in found["trials"]]
    assert tried == [("0.02", "0"), ("0.02", "8,4"), ("0.001", "0"), ("0.001", "8,4")]
    best = max(found["trials"], key=lambda trial: (trial["accuracy"], -trial["loss"]))
    assert found["best"] == best["values"]
    table = capfd.readouterr().out.splitlines()
    assert table[0].split()[:4] == ["learning-rate", "hidden-units", "label-smoothing", "accuracy"]
    accuracies = [float(line.split()[3]) for line in table[1:]]
    assert accuracies == sorted(accuracies, reverse=True)
    flags = [word for flag, value in best["values"].items() for word in (f"--{flag}", value)]
    assert main(["train", "--data", str(drawn), "--model-dir", str(tmp_path / "model"), *TINY, *flags]) == 0
    trained = model_dir.read(tmp_path / "model").info
    assert trained.metrics["accuracy"] == best["accuracy"]
    assert trained.training["epochs_run"][best["best_epoch"] - 1]["val_loss"] == pytest.approx(best["loss"], rel=1e-4)
    assert "learning-rate" in (tmp_path / "out/report.html").read_text()


def test_each_trial_has_curves_and_a_page_of_its_own(drawn: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    for kind in drawn.iterdir():
        shutil.copytree(kind, test / kind.name, ignore=lambda _, names: sorted(names)[4:])
    vary = ("--vary", "learning-rate", 0.02, 1e38, 0.0001, "--test-data", test)
    assert run(drawn, tmp_path / "out", *vary) == 0
    trials = json.loads((tmp_path / "out/sweep.json").read_text())["trials"]
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<polyline") == 2 * 2 * 2  # training and validation, accuracy and loss, two successful trials
    assert [f'href="trials/{number:03}.html"' in page for number in (1, 2, 3)] == [True, False, True]
    assert not (tmp_path / "out/trials/002.html").exists()
    assert f"{trials[0]['test_accuracy']:.4f}" in page
    model = tmp_path / "model"
    words = ["--data", str(drawn), "--test-data", str(test), "--model-dir", str(model), *TINY]
    assert main(["train", *words, "--learning-rate", "0.02"]) == 0
    info = model_dir.read(model).info
    assert info.test_metrics
    assert info.test_metrics["accuracy"] == trials[0]["test_accuracy"]
    about, trained = (path.read_text() for path in (tmp_path / "out/trials/001.html", model / "report.html"))
    for words in ("Confusion matrix", "Most confident errors", "Samples", "Validation photos"):
        assert words in about
    (back,) = re.findall(r'<header>.*?<a href="([^"]*)"', about)
    assert (tmp_path / "out/trials" / back).resolve() == tmp_path / "out/report.html"
    own, trains = (re.findall(r'<div class="card"><b>([^<]*)', text) for text in (about, trained))
    assert own == trains


def test_copies_of_training_photos_in_the_test_data_are_warned_of(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "test"
    for kind in drawn.iterdir():
        shutil.copytree(kind, test / kind.name, ignore=lambda _, names: sorted(names)[2:])
    assert run(drawn, tmp_path / "out", "--vary", "learning-rate", 0.02, "--test-data", test) == 0
    errors = capfd.readouterr().err
    assert (
        "warning: --test-data shares 6 photos with the training or validation data: remove the shared photos" in errors
    )
    assert "--validation-data" not in errors


def test_a_trial_that_cannot_be_prepared_does_not_end_a_resumed_sweep(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.networks import backbones

    weights = tmp_path / "residual.weights.h5"
    backbones.build("residual", "none", 16).layers[-1].save_weights(weights)
    words = ["--backbone", "residual", "--weights", weights, "--vary", "fine-tune", "none", "nowhere", "all"]
    fits, fit = [], training.fit

    def interrupted(*arguments: Any) -> object:
        fits.append(arguments)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(training, "fit", interrupted)
    assert run(drawn, tmp_path / "out", *words) == 130
    content = json.loads((tmp_path / "out/sweep.json").read_text())
    content["trials"] = content["trials"][:1]  # as if interrupted before the failing trial
    (tmp_path / "out/sweep.json").write_text(json.dumps(content))
    assert run(drawn, tmp_path / "out", *words, "--resume") == 0
    trials = json.loads((tmp_path / "out/sweep.json").read_text())["trials"]
    assert [trial["accuracy"] is None for trial in trials] == [False, True, False]


def test_one_at_a_time_and_the_best_trained_again(drawn: Path, tmp_path: Path) -> None:
    vary = ("--vary", "learning-rate", 0.001, 0.02, "--vary", "dropout", 0.2, 0.5, "--vary", "augment", "no", "yes")
    vary += ("--vary", "max-norm", 2)
    assert run(drawn, tmp_path / "out", *vary, "--one-at-a-time", "--model-dir", tmp_path / "model") == 0
    found = json.loads((tmp_path / "out/sweep.json").read_text())
    tried = [trial["values"] for trial in found["trials"]]  # 0.001, 0.2 and no are the defaults, tried only once
    given = {"learning-rate": "0.001", "dropout": "0.2", "augment": "no"}
    assert tried == [given, {"learning-rate": "0.02"}, {"dropout": "0.5"}, {"augment": "yes"}, {"max-norm": "2"}]
    accuracy = model_dir.read(tmp_path / "model").info.metrics["accuracy"]
    assert accuracy == max(trial["accuracy"] for trial in found["trials"])
    plots = (tmp_path / "out/report.html").read_text().split("<h2>")[2:]
    settings = {plot.partition("<")[0]: re.findall(r"<title>([^:]*):", plot) for plot in plots}
    assert settings["max-norm"] == ["2", "not varied"]
    assert settings["dropout"] == ["0.2", "0.5"]


def test_optuna_chooses_within_ranges(drawn: Path, tmp_path: Path) -> None:
    vary = (
        "--vary",
        "learning-rate",
        "0.0001..0.1:log",
        "--vary",
        "batch-size",
        "4..9",
        "--vary",
        "decay",
        "constant",
        "cosine",
    )
    assert run(drawn, tmp_path / "out", *vary, "--trials", 4) == 0
    found = json.loads((tmp_path / "out/sweep.json").read_text())
    values = [trial["values"] for trial in found["trials"]]
    assert len(values) == 4
    assert len({value["learning-rate"] for value in values}) == 4
    for value in values:
        assert 0.0001 <= float(value["learning-rate"]) <= 0.1
        assert 4 <= int(value["batch-size"]) <= 9
        assert value["decay"] in ("constant", "cosine")


def test_a_trial_that_fails_does_not_end_the_others(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(drawn, tmp_path / "out", "--vary", "learning-rate", 1e38, 0.001) == 0
    trials = json.loads((tmp_path / "out/sweep.json").read_text())["trials"]
    assert trials[0]["accuracy"] is None
    assert "lower --learning-rate" in trials[0]["error"]
    assert trials[1]["accuracy"] is not None
    assert "failed" in capfd.readouterr().out.splitlines()[-1]


BAD_USE = {
    "unknown flag": (["--vary", "learning-rte", "1"], "unknown argument --learning-rte; did you mean --learning-rate?"),
    "wrong value": (["--vary", "dropout", "0.1", "2"], "--vary dropout: '2' is not a number of at least 0 and below 1"),
    "wrong choice": (["--vary", "decay", "linear"], "--vary decay: 'linear' is not one of constant, cosine"),
    "no value": (["--vary", "dropout"], "--vary dropout: give its values"),
    "twice": (["--vary", "dropout", "0", "--vary", "dropout", "1"], "give it once, with all values"),
    "a range without trials": (["--vary", "dropout", "0..0.5"], "a range needs --trials"),
    "an invalid range": (["--vary", "dropout", "0.5..0.1", "--trials", "2"], "'0.5..0.1' is not a range"),
    "a range beyond the limits of the flag": (
        ["--vary", "dropout", "0..1.0", "--trials", "2"],
        "is not a number of at least 0 and below 1",
    ),
    "a switch": (["--vary", "augment", "maybe"], "'maybe' is neither yes nor no"),
    "both ways": (["--vary", "dropout", "0", "--trials", "2", "--one-at-a-time"], "cannot be combined"),
    "a combination that contradicts itself": (
        ["--vary", "fine-tune", "all", "none", "--vary", "weights", "none"],
        "would freeze random weights",
    ),
    "contradiction": (["--vary", "fine-tune", "top"], "would freeze random weights"),
}


def test_finished_trials_are_kept_when_a_sweep_is_interrupted(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fits, fit = [], training.fit

    def interrupted(*arguments: Any) -> object:
        fits.append(arguments)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(training, "fit", interrupted)
    assert run(drawn, tmp_path / "out", "--vary", "learning-rate", 0.02, 0.01, 0.005) == 130
    assert "2 finished trials kept in" in capfd.readouterr().err
    trials = json.loads((tmp_path / "out/sweep.json").read_text())["trials"]
    assert [trial["values"]["learning-rate"] for trial in trials] == ["0.02", "0.01"]
    assert (tmp_path / "out/report.html").exists()


@pytest.mark.parametrize("more", [(), ("--trials", 4)])
def test_an_interrupted_sweep_goes_on_with_its_trials(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], more: tuple[str]
) -> None:
    """The resumed sweep ends with the trials of an uninterrupted sweep."""
    fits, fit = [], training.fit
    vary = ("--vary", "learning-rate", *(["0.001..0.1:log"] if more else [0.02, 0.01, 0.005, 0.002]), *more)
    assert run(drawn, tmp_path / "whole", *vary) == 0

    def interrupted(*arguments: Any) -> object:
        fits.append(arguments)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(training, "fit", interrupted)
    assert run(drawn, tmp_path / "out", *vary) == 130
    assert "resume with the same flags and --resume" in capfd.readouterr().err
    assert run(drawn, tmp_path / "out", *vary) == 2
    assert run(drawn, tmp_path / "out", *vary, "--resume") == 0
    assert len(fits) == 3 + 2
    whole, found = (json.loads((tmp_path / name / "sweep.json").read_text()) for name in ("whole", "out"))
    for trial in (*whole["trials"], *found["trials"]):
        trial.pop("seconds")
    assert found["trials"] == whole["trials"]
    assert run(drawn, tmp_path / "out", *vary, "--resume") == 0
    assert len(fits) == 3 + 2


def test_a_sweep_goes_on_with_trials_of_the_same_settings_and_photos_only(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    vary = ("--vary", "learning-rate", 0.02, 0.01, "--resume")
    assert run(data, tmp_path / "out", *vary) == 0
    capfd.readouterr()
    assert run(data, tmp_path / "out", *vary, "--dropout", 0.4) == 2
    assert "sweep.json belongs to another sweep (--dropout 0.2, now 0.4): choose" in capfd.readouterr().err
    first, second, *_ = sorted(data.glob("hat/*.jpg"))
    first.write_bytes(second.read_bytes())
    assert run(data, tmp_path / "out", *vary) == 2
    assert "another sweep (photos have changed, but not their names)" in capfd.readouterr().err


def test_photos_are_prepared_once_for_all_trials_that_need_the_same_preparation(
    drawn: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds if Optuna alternates between values, and if seeds vary that affect only the head."""
    prepared, prepare = [], training.prepare

    def counting(*arguments: Any) -> object:
        prepared.append(arguments)
        return prepare(*arguments)

    monkeypatch.setattr(training, "prepare", counting)
    flags = ["--backbone", "small", "--image-size", 32, "--weights", tiny_model / "model.keras"]
    vary = ("--vary", "augment", "no", "yes", "--vary", "learning-rate", "0.001..0.1:log", "--trials", 6)
    assert run(drawn, tmp_path / "optuna", *flags, *vary) == 0
    trials = json.loads((tmp_path / "optuna/sweep.json").read_text())["trials"]
    assert len(prepared) == len({trial["values"]["augment"] for trial in trials}) == 2
    prepared.clear()
    assert run(drawn, tmp_path / "seeds", *flags, "--vary", "seed", 1, 2, 3) == 0
    assert len(prepared) == 1
    trials = json.loads((tmp_path / "seeds/sweep.json").read_text())["trials"]
    assert len({trial["loss"] for trial in trials}) == 3
    flags = ["--backbone", "small", "--image-size", 32, "--epochs", 1]
    prepared.clear()
    assert run(drawn, tmp_path / "random", *flags, "--vary", "seed", 1, 2) == 0
    assert len(prepared) == 2  # the initial weights depend on the seed


def test_a_network_that_cannot_be_prepared_does_not_end_the_others(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials with the same preparation run consecutively, whatever the order of the flags."""
    prepared, prepare = [], training.prepare

    def counting(job: training.Job, *arguments: Any) -> object:
        prepared.append(job.config.backbone)
        return prepare(job, *arguments)

    monkeypatch.setattr(training, "prepare", counting)
    vary = ("--vary", "dropout", 0, 0.1, "--vary", "backbone", "convolutional", "MobileNetV2", "--weights", "none")
    assert run(drawn, tmp_path / "out", *vary) == 0  # MobileNetV2 needs at least 32 pixels
    assert prepared == ["convolutional", "MobileNetV2", "MobileNetV2"]
    trials = json.loads((tmp_path / "out/sweep.json").read_text())["trials"]
    assert [trial["accuracy"] is None for trial in trials] == [False, False, True, True]
    assert "16 pixels" in trials[-1]["error"]
    assert "16 pixels" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_one_line(case: str, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags, words = BAD_USE[case]
    assert run(drawn, tmp_path / "out", *flags) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_extra_is_named(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(drawn, tmp_path / "out", "--vary", "dropout", "0", "--trials", 2) == 2
    assert "pip install -e '.[sweep]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1..8", sweep_flags.Range(1, 8, False, True)),
        ("1e-4..1e-1:log", sweep_flags.Range(1e-4, 0.1, True, False)),
        ("0.0..0.5", sweep_flags.Range(0, 0.5, False, False)),
        ("block_6_add", None),
        ("64,32", None),
    ],
)
def test_ranges(text: str, expected: sweep_flags.Range | None) -> None:
    assert sweep_flags.range_of(text) == expected
