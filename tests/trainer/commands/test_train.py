"""The ``train`` command on small drawn pictures; the real photos are in tests/test_end_to_end.py."""

from __future__ import annotations

import functools
import http.server
import json
import os
import random
import re
import shutil
import subprocess
import threading
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalogue import model_dir, storage
from catalogue.cli import flags
from catalogue.images.reader import read_image
from tests.conftest import ObjectStore
from trainer import task
from trainer.__main__ import main
from trainer.commands import train_flags
from trainer.data import idx
from trainer.evaluation.evaluated import Evaluated
from trainer.export import golden
from trainer.fitting import checkpoints, improvements, training

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Contents = Callable[[Path], dict[str, bytes]]
TINY = ("--backbone", "small", "--image-size", "32", "--epochs", "2")


def train(data: Path, path: Path, *more: object) -> int:
    return main(["train", "--data", str(data), "--model-dir", str(path), *TINY, *map(str, more)])


def test_the_same_seed_gives_the_same_model(drawn: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(drawn, tmp_path / name, "--seed", seed) == 0
    ids = [model_dir.read(tmp_path / name).info.id for name in "abc"]
    assert ids[0] == ids[1] != ids[2]


def test_unreadable_photos_are_counted_reported_and_skipped(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    (data / "hat/torn.jpg").write_bytes((data / "hat/00.jpg").read_bytes()[:2000])
    (data / "hat/notes.txt").write_text("remember the hats")
    assert train(data, tmp_path / "model") == 0
    shown = capfd.readouterr().err
    assert "skipped unreadable photos: 2 of 38 (1 unknown_format, 1 truncated)" in shown or (
        "skipped unreadable photos: 2 of 38 (1 truncated, 1 unknown_format)" in shown
    )
    assert f"{data}/hat/torn.jpg: truncated" in shown
    info = model_dir.read(tmp_path / "model").info
    assert info.data["unreadable_photos"] == 2
    assert info.data["training_photos"] + info.data["validation_photos"] == 36


def test_given_validation_photos_are_used_as_they_are(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for label in ("hat", "shoes"):
        (tmp_path / "held-out" / label).mkdir(parents=True)
        shutil.copy(drawn / label / "03.jpg", tmp_path / "held-out" / label)
    assert train(drawn, tmp_path / "model", "--validation-data", tmp_path / "held-out") == 0
    info = model_dir.read(tmp_path / "model").info
    assert (info.data["training_photos"], info.data["validation_photos"]) == (36, 2)
    assert "--data and --validation-data share 2 photos" in capfd.readouterr().err


def test_frozen_backbone_from_a_weights_file(drawn: Path, tmp_path: Path) -> None:
    """For feature extraction, features are computed once, and a head is fitted to them."""
    import keras

    network = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(96, 96, 3))
    network.save_weights(tmp_path / "some.weights.h5")
    arguments = ["--backbone", "MobileNetV2", "--weights", tmp_path / "some.weights.h5", "--image-size", 96]
    assert train(drawn, tmp_path / "model", *arguments) == 0
    loaded = keras.models.load_model(tmp_path / "model/model.keras")
    inner = loaded.get_layer("MobileNetV2").get_layer(network.name)
    for before, after in zip(network.get_weights(), inner.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_model_goes_on_from_an_earlier_one(
    drawn: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The head is kept if the classes are the same; otherwise, only the backbone is kept."""
    import keras

    old, still = tiny_model / "model.keras", ("--learning-rate", "1e-12", "--epochs", 1, "--batch-norm", "frozen")
    assert train(drawn, tmp_path / "same", "--weights", old, "--fine-tune", "all", *still, "--head-epochs", 1) == 0
    assert f"starting from the weights of backbone small in {old}" in capfd.readouterr().err
    before, after = (keras.models.load_model(path) for path in (old, tmp_path / "same/model.keras"))
    for name in ("small", "head"):
        pairs = zip(before.get_layer(name).get_weights(), after.get_layer(name).get_weights(), strict=True)
        assert all(np.allclose(*pair, atol=1e-2 if name == "head" else 1e-6) for pair in pairs)
    shutil.copytree(drawn / "hat", tmp_path / "data/caps")
    shutil.copytree(drawn / "shoes", tmp_path / "data/shoes")
    assert train(tmp_path / "data", tmp_path / "other", "--weights", old) == 0
    assert model_dir.read(tmp_path / "other").info.labels == ("caps", "shoes")
    capfd.readouterr()
    (tmp_path / "cut.keras").write_bytes(old.read_bytes()[:5000])
    assert train(drawn, tmp_path / "none", "--weights", tmp_path / "cut.keras") == 2
    assert "cut.keras cannot be read as a Keras model" in capfd.readouterr().err
    assert train(drawn, tmp_path / "none", "--weights", old, "--backbone", "pixels") == 2
    assert f"{old} contains no backbone pixels written by train" in capfd.readouterr().err


def test_an_existing_model_is_kept_unless_told_otherwise(
    tiny_model: Path, model_copy: Path, drawn: Path, contents: Contents, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(model_copy)
    assert train(drawn, model_copy) == 2
    assert "contains a model: choose another --model-dir, or give --overwrite" in capfd.readouterr().err
    assert contents(model_copy) == before
    assert train(drawn, model_copy, "--overwrite", "--seed", 5) == 0
    assert model_dir.read(model_copy).info.id != model_dir.read(tiny_model).info.id
    assert [path.name for path in model_copy.parent.iterdir()] == ["model"]


def test_overwriting_never_deletes_what_is_not_the_models(
    model_copy: Path, drawn: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (model_copy / "thesis.txt").write_text("precious")
    assert train(drawn, model_copy, "--overwrite") == 2
    assert "contains files that are not part of its model, such as 'thesis.txt'" in capfd.readouterr().err
    assert (model_copy / "thesis.txt").read_text() == "precious"


def test_an_empty_folder_and_a_link_stay_what_they_are(drawn: Path, tmp_path: Path) -> None:
    """An empty folder may be a mount point, which cannot be replaced by renaming."""
    (tmp_path / "empty").mkdir()
    inode = (tmp_path / "empty").stat().st_ino
    assert train(drawn, tmp_path / "empty") == 0
    assert (tmp_path / "empty").stat().st_ino == inode
    (tmp_path / "current").symlink_to("empty")
    assert train(drawn, tmp_path / "current", "--overwrite", "--seed", 9) == 0
    assert (tmp_path / "current").is_symlink()
    assert model_dir.read(tmp_path / "empty").info.training["seed"] == 9
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "current"}


def test_names_that_are_not_utf8_pipes_and_loops_are_no_trouble(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    shutil.copy(data / "hat/00.jpg", data / "hat" / os.fsdecode(b"caf\xe9.jpg"))
    os.mkfifo(data / "hat/pipe.jpg")
    (data / "hat/again").symlink_to(".")
    assert train(data, tmp_path / "model") == 0
    assert "skipped unreadable photos: 2 of 38 (" in capfd.readouterr().err
    (data / os.fsdecode(b"caf\xe9")).mkdir()
    assert train(data, tmp_path / "other") == 2
    assert "is not UTF-8: rename it" in capfd.readouterr().err


def test_a_folder_one_level_too_high_is_warned_of(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The warning becomes an error if the folders are named like the splits of a data set."""
    for name in ("summer", "winter"):
        shutil.copytree(drawn, tmp_path / "data" / name)
    assert train(tmp_path / "data", tmp_path / "model") == 0
    assert "all photos of 'summer' are in 3 subfolders; is --data one level too high?" in capfd.readouterr().err
    (tmp_path / "data/summer").rename(tmp_path / "data/train")
    (tmp_path / "data/winter").rename(tmp_path / "data/validation")
    assert train(tmp_path / "data", tmp_path / "none") == 2
    assert "are the splits 'train', 'validation': give one of them as --data" in capfd.readouterr().err


def test_vertex_ai_says_where_the_model_goes(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_MODEL_DIR", f"{tmp_path}/vertex/model/")
    assert task.main(["--data", str(drawn), *TINY]) == 0
    assert model_dir.read(tmp_path / "vertex/model").info.labels == ("dress", "hat", "shoes")


def test_a_finished_run_is_not_resumed(
    drawn: Path,
    tmp_path: Path,
    contents: Contents,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same command runs again with --resume, as if a job were restarted after the loss of its machine."""
    assert train(drawn, tmp_path / "model", "--resume") == 0
    before = contents(tmp_path)
    shutil.copytree(tmp_path / "model", tmp_path / "kept")
    shutil.rmtree(tmp_path / "model")
    left: dict[str, bytes] = {}
    with monkeypatch.context() as patched:  # killed between writing the model and removing the checkpoints
        patched.setattr(checkpoints, "remove", lambda folder: left.update(contents(Path(folder))))
        assert train(drawn, tmp_path / "model") == 0
    assert "checkpoints.json" in left
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "kept").rename(tmp_path / "model")
    assert (tmp_path / "checkpoints-model/checkpoints.json").exists()
    assert train(drawn, tmp_path / "model", "--resume") == 0
    assert "there is nothing to resume" in capfd.readouterr().err
    assert train(drawn, tmp_path / "model", "--resume", "--seed", 5) == 2
    assert "model contains the model of another run (--seed 0, now 5): choose another" in capfd.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("held_out", [False, True])
def test_a_finished_run_on_photos_that_were_changed_since_is_another(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], held_out: bool
) -> None:
    """Either a training photo or a validation photo changes and keeps its name."""
    data, validation = shutil.copytree(drawn, tmp_path / "data"), shutil.copytree(drawn, tmp_path / "validation")
    flags = ["--validation-data", validation, "--resume"]
    assert train(data, tmp_path / "model", *flags) == 0
    first = model_dir.read(tmp_path / "model").info
    photos = sorted((validation if held_out else data).glob("hat/*.jpg"))
    photos[0].write_bytes(photos[1].read_bytes())
    assert train(data, tmp_path / "model", *flags) == 2
    assert "another run (photos have changed, but not their names)" in capfd.readouterr().err
    assert train(data, tmp_path / "model", *flags, "--overwrite") == 0
    assert "starting over" in capfd.readouterr().err
    assert model_dir.read(tmp_path / "model").info.data["contents"] != first.data["contents"]
    assert train(data, tmp_path / "model", *flags, "--overwrite") == 0
    assert "there is nothing to resume" in capfd.readouterr().err
    assert train(data, tmp_path / "model", "--resume") == 2  # without validation data
    assert "another run (different photos, labels or validation data)" in capfd.readouterr().err


def test_an_interrupted_run_is_resumed_only_on_the_same_photos_and_split(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = [(str(file), file.parent.name) for file in sorted(drawn.rglob("*.jpg"))]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    photos = [*uris, (str(broken), "hat")]

    def write_split(count: int) -> None:
        for name, rows in (("data", photos[:count]), ("validation", photos[count:])):
            (tmp_path / f"{name}.csv").write_text("\n".join(["uri,label", *map(",".join, rows)]))

    def go_on() -> int:
        return train(tmp_path / "data.csv", tmp_path / "model", "--validation-data", tmp_path / "validation.csv",
                     "--resume")  # fmt: skip

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    random.Random(1).shuffle(photos)
    write_split(20)
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", interrupted)
        assert go_on() == 130
    write_split(21)  # the photos of both splits together, and their order, are unchanged
    assert go_on() == 2
    assert "another run (different photos, labels or validation data)" in capfd.readouterr().err
    write_split(20)
    broken.write_bytes(Path(uris[0][0]).read_bytes())
    assert go_on() == 2
    assert f"1 photo has changed since the run was interrupted, for example {broken}" in capfd.readouterr().err
    broken.write_bytes(b"no photo")
    assert go_on() == 0


def test_test_photos_are_measured_once_the_model_is_done(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, test = Path(shutil.copytree(drawn, tmp_path / "data")), tmp_path / "test"
    for label in ("dress", "hat", "shoes"):
        (test / label).mkdir(parents=True)
        for file in sorted((data / label).iterdir())[:4]:
            file.rename(test / label / file.name)
    shutil.copy(next((data / "hat").iterdir()), test / "hat/again.jpg")
    (test / "hat/torn.jpg").write_bytes(b"no photo")
    assert train(data, tmp_path / "without") == 0
    assert "give --test-data to measure on held-out photos" in capfd.readouterr().err
    assert train(data, tmp_path / "model", "--test-data", test, "--fail-under", "accuracy=0") == 0
    said = capfd.readouterr().err
    assert "warning: --test-data shares 1 photo with the training or validation data: remove the shared photos" in said
    assert "skipped unreadable photos: 1 of 14 (" in said
    info = model_dir.read(tmp_path / "model").info
    assert info.id == model_dir.read(tmp_path / "without").info.id
    assert info.test_metrics
    assert info.test_metrics["examples"] == info.data["test_photos"] == 13
    assert f"test accuracy {info.test_metrics['accuracy']:.3f} on 13 photos, 95 % interval" in said
    report = (tmp_path / "model/report.html").read_text()
    assert f"3 classes, {info.test_metrics['accuracy']:.1%} accurate on test photos</h1>" in report
    assert (
        f"{info.metrics['accuracy']:.1%}</b>accuracy" in report.split("<h2>Validation photos</h2>")[1].split("<h2>")[0]
    )
    assert str(test / "hat") in report.split("<h2>Samples</h2>")[1].split("<h2>")[0]
    assert main(["evaluate", "--model-dir", str(tmp_path / "model"), "--data", str(test)]) == 0
    assert f"accuracy {info.test_metrics['accuracy']:.4f}" in capfd.readouterr().out


def test_parts_of_the_data_are_held_out_to_validate_and_to_test_on(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fractions = ("--validation-fraction", 0.25, "--test-fraction", 0.25)
    assert train(drawn, tmp_path / "model", *fractions) == 0
    said = capfd.readouterr().err
    assert "class    training  validation        test" in said
    info = model_dir.read(tmp_path / "model").info
    counts = [info.data[f"{side}_photos"] for side in ("training", "validation", "test")]
    assert sum(counts) == 36
    assert all(6 <= count <= 12 for count in counts[1:])
    assert info.test_metrics
    assert info.test_metrics["examples"] == counts[2]
    assert all(values["support"] for values in info.test_metrics["per_class"].values())
    assert train(drawn, tmp_path / "model", *fractions, "--resume") == 0
    assert train(drawn, tmp_path / "none", "--validation-fraction", 0.5, "--test-fraction", 0.5) == 2
    assert "leave no photos for training" in capfd.readouterr().err
    assert train(drawn, tmp_path / "none", "--validation-fraction", 0.5, "--validation-data", drawn) == 2
    assert "cannot be combined" in capfd.readouterr().err


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_refitted_model_has_learned_from_the_validation_photos_too(
    drawn: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrained: bool
) -> None:
    """The second fit ends with the best epoch of the first fit; the metrics are those of the first fit."""
    from trainer.fitting import loop

    seen, run = [], loop.Fitting.run

    def recorded(fitting: loop.Fitting, last_epoch: int | None = None) -> loop.Fitted:
        seen.append((fitting._name, len(fitting._task.training), last_epoch))
        return run(fitting, last_epoch)

    monkeypatch.setattr(loop.Fitting, "run", recorded)
    more = ("--weights", tiny_model / "model.keras", "--augment", "--copies", 2) if pretrained else ()
    assert train(drawn, tmp_path / "first", *more) == 0
    assert train(drawn, tmp_path / "again", *more, "--refit") == 0
    first, again = (model_dir.read(tmp_path / name).info for name in ("first", "again"))
    count, best = first.data["training_photos"], first.training["best_epoch"]
    name = "head" if pretrained else "network"
    assert seen[1:] == [(name, count, None), (f"refit-{name}", 36, best)]
    assert again.metrics == first.metrics
    assert again.network_hash != first.network_hash
    known = np.load(tmp_path / "again/training_photos.npy")
    assert len(known) == 36


def test_a_failed_gate_keeps_the_label_issues(
    drawn: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.label_issues.LEAST_PER_CLASS", 5)
    flags = ("--weights", tiny_model / "model.keras", "--hidden-units", 3, "--learning-rate", "1e-6")
    assert train(drawn, tmp_path / "model", "--fail-under", "accuracy=1", *flags) == 1
    assert (tmp_path / "checkpoints-model/label_issues.csv").read_text().startswith("uri,label,suggested,confidence")


def test_a_failed_gate_keeps_report_and_checkpoints(
    drawn: Path, tmp_path: Path, contents: Contents, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(drawn, tmp_path / "model", "--fail-under", "accuracy=1", "--learning-rate", "1e-6") == 1
    kept = tmp_path / "checkpoints-model"
    assert f"the report and checkpoints are in {kept}" in capfd.readouterr().err
    assert "Confusion matrix" in (kept / "report.html").read_text()
    assert not (tmp_path / "model").exists()
    fitted = []
    monkeypatch.setattr("trainer.fitting.loop.Fitting._train_epoch", lambda *arguments: fitted.append(arguments))
    assert train(drawn, tmp_path / "model", "--learning-rate", "1e-6", "--resume") == 0
    assert not fitted
    assert not kept.exists()


def test_a_gate_about_a_class_without_validation_photos_fails(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held-out").mkdir()
    shutil.copytree(drawn / "hat", tmp_path / "held-out/hat")
    held_out = ("--validation-data", tmp_path / "held-out", "--fail-under", "macro_recall=0")
    assert train(drawn, tmp_path / "model", *held_out) == 1
    assert "macro_recall cannot be measured (no photos of 'dress', 'shoes')" in capfd.readouterr().err


def test_a_learning_rate_that_is_too_high_gives_no_model(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(drawn, tmp_path / "model", "--learning-rate", 1e3, "--backbone", "pixels") == 1
    assert "training diverged" in capfd.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_model_that_has_learned_nothing_is_no_better_than_chance(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(drawn, tmp_path / "model", "--learning-rate", "1e-9", "--backbone", "pixels") == 0
    assert "warning: the model is no better than chance: always predicting" in capfd.readouterr().err
    assert "no better than chance" in (tmp_path / "model/report.html").read_text()


def test_photos_of_a_list_can_be_on_the_web(drawn: Path, tmp_path: Path) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(drawn))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        lines = [f"{host}/{file.relative_to(drawn)},{file.parent.name}" for file in sorted(drawn.rglob("*.jpg"))]
        (tmp_path / "list.csv").write_text("\n".join(["uri,label", *lines]))
        assert train(tmp_path / "list.csv", tmp_path / "model") == 0
        server.shutdown()
    info = model_dir.read(tmp_path / "model").info
    assert info.labels == ("dress", "hat", "shoes")


def test_a_model_can_be_trained_in_an_object_store(drawn: Path, object_store: ObjectStore, command: Command) -> None:
    """Photos, checkpoints, event files and model are all in the object store."""
    root = object_store.root
    for file in drawn.rglob("*.jpg"):
        storage.copy(str(file), f"{root}/photos/{file.relative_to(drawn)}")
    words = ["train", "--data", f"{root}/photos/", "--model-dir", f"{root}/model/", "--log-dir", f"{root}/logs", *TINY]
    done = command("trainer", *words, **object_store.environment)
    assert done.returncode == 0, done.stderr
    with model_dir.fetched(f"{root}/model") as model:
        assert model.info.labels == ("dress", "hat", "shoes")
    kinds = {file.location.removeprefix(f"{root}/").split("/")[0] for file in storage.list_files(root)}
    assert kinds == {"photos", "model", "logs"}
    assert {file.location.split("/")[-2] for file in storage.list_files(f"{root}/logs")} == {"training", "validation"}
    again = command("trainer", *words, **object_store.environment)
    assert (again.returncode, "contains a model: choose another" in again.stderr) == (2, True)
    (listed, *_) = storage.list_files(f"{root}/photos")
    done = command("trainer", "predict", "--model-dir", f"{root}/model", listed.location, **object_store.environment)
    assert done.returncode == 0, done.stderr


def folder_of(folder: Path, **counts: int) -> Path:
    chance = np.random.default_rng(0)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = chance.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


BAD_USE = {
    "missing folder": (lambda d: ["--data", d / "none"], "none does not exist"),
    "a file": (lambda d: ["--data", d / "good/a/0.png"], "has no column 'label'"),
    "empty folder": (lambda d: ["--data", d / "empty"], "has no class subfolders"),
    "one class": (lambda d: ["--data", d / "one"], "has only one class"),
    "a class with one photo": (lambda d: ["--data", d / "lonely"], "class 'b' has one photo"),
    "a class of broken photos": (lambda d: ["--data", d / "broken"], "no readable training photos of 'b'"),
    "unknown backbone": (lambda d: ["--backbone", "MobileNetV9"], "unknown backbone 'MobileNetV9': did you mean"),
    "weights that do not fit": (
        lambda d: ["--backbone", "MobileNetV2", "--weights", d / "other.weights.h5"],
        "cannot be loaded as the weights of MobileNetV2",
    ),
    "no such weights": (lambda d: ["--weights", d / "none.h5"], "none.h5 does not exist: --weights accepts"),
    "no such ImageNet weights": (lambda d: ["--weights", "imagenet"], "the backbone 'small' has no ImageNet weights"),
    "image size": (lambda d: ["--image-size", "3"], "image size 3 is too small"),
    "unknown class in validation": (lambda d: ["--validation-data", d / "other"], "has classes that --data lacks"),
    "a file to drop that is not a list": (
        lambda d: ["--drop", d / "good/a"],
        "is not an existing list: give a file with",
    ),
    "a list to drop that is missing": (lambda d: ["--drop", d / "none.csv"], "none.csv is not an existing list"),
    "missing validation folder": (lambda d: ["--validation-data", d / "none"], "none does not exist"),
    "validation photos that are trained on": (lambda d: ["--validation-data", d / "good/."], "share 12 files"),
    "no readable photo at all": (
        lambda d: ["--data", d / "all-broken"],
        "found 4 files, but none can be read as a photo",
    ),
    "an output inside the photos": (lambda d: ["--model-dir", d / "good/model"], "its files would be read as photos"),
    "an output inside the validation photos": (
        lambda d: ["--model-dir", d / "other/model", "--validation-data", d / "other", "--data", d / "both"],
        "other/model is inside",
    ),
    "checkpoints inside the photos": (
        lambda d: ["--checkpoint-dir", d / "good/a/kept"],
        "--checkpoint-dir",
    ),
    "logs where nobody may write": (lambda d: ["--log-dir", "/proc/logs"], "--log-dir /proc/logs cannot be written"),
    "an output below a file": (
        lambda d: ["--model-dir", d / "good/a/0.png/x/y", "--data", d / "other"],
        "cannot be written",
    ),
    "an output where nobody may write": (lambda d: ["--model-dir", "/proc/new/model"], "/proc/new/model cannot be"),
    "another program's model.json": (
        lambda d: ["--model-dir", d / "foreign"],
        "is neither empty nor an intact model directory",
    ),
    "an empty path": (lambda d: ["--model-dir", ""], "argument --model-dir: the path is empty"),
    "not a number": (lambda d: ["--epochs", "abc"], "argument --epochs: 'abc' is not an integer from 1 to 2147483647"),
    "a dropout rate of one": (lambda d: ["--dropout", "1"], "'1' is not a number of at least 0 and below 1"),
    "a batch size that is too large": (lambda d: ["--batch-size", "9" * 20], "is not an integer from 1 to 2147483647"),
    "unknown flag": (lambda d: ["--epoch", "3"], "unknown argument --epoch; did you mean --epochs?"),
    "an output that is something else": (
        lambda d: ["--model-dir", d / "other"],
        "is neither empty nor an intact model directory",
    ),
    "an output that is a file": (lambda d: ["--model-dir", d / "other/a/0.png"], "is a file"),
}


@pytest.fixture(scope="module")
def bad_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    folder = tmp_path_factory.mktemp("bad")
    folder_of(folder / "good", a=6, b=6)
    (folder / "empty").mkdir()
    folder_of(folder / "one", a=6)
    folder_of(folder / "lonely", a=6, b=1)
    folder_of(folder / "broken", a=6, b=2)
    for file in (folder / "broken/b").iterdir():
        file.write_bytes(b"no picture")
    folder_of(folder / "other", a=2, c=2)
    folder_of(folder / "both", a=6, c=6)
    folder_of(folder / "all-broken", a=2, b=2)
    for file in (folder / "all-broken").rglob("*.png"):
        file.write_bytes(b"no picture")
    (folder / "foreign").mkdir()
    (folder / "foreign/model.json").write_text("{}")
    (folder / "foreign/thesis.txt").write_text("precious")
    network = keras.applications.MobileNetV2(weights=None, alpha=0.35, include_top=False, input_shape=(96, 96, 3))
    network.save_weights(folder / "other.weights.h5")
    return folder


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_one_line_and_leaves_nothing(
    case: str, bad_data: Path, tmp_path: Path, contents: Contents, capfd: pytest.CaptureFixture[str]
) -> None:
    flags, words = BAD_USE[case]
    arguments = {"--data": bad_data / "good", "--model-dir": tmp_path / "new/model", "--backbone": "small"}
    given = list(map(str, flags(bad_data)))
    arguments |= dict(zip(given[::2], given[1::2], strict=True))
    before = contents(bad_data)
    try:
        code = main(["train", *(str(word) for pair in arguments.items() for word in pair)])
    except SystemExit as end:  # from argparse
        code = int(end.code or 0)
    assert code == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert words in errors[0]
    assert errors[0].startswith("python -m trainer train: error: ")
    assert not list(tmp_path.iterdir())
    assert contents(bad_data) == before


def test_imagenet_weights_that_cannot_be_downloaded(
    drawn: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A proxy on a closed port simulates a machine without a network."""
    closed = "http://127.0.0.1:9"
    done = command(
        "trainer", "train", "--data", drawn, "--model-dir", tmp_path / "model", "--backbone", "MobileNetV2",
        KERAS_HOME=str(tmp_path / "keras"), https_proxy=closed, http_proxy=closed,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "the ImageNet weights of MobileNetV2 cannot be downloaded" in last
    assert "--weights FILE" in last
    assert not (tmp_path / "model").exists()


def test_what_is_printed_is_the_commands_own(
    drawn: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command("trainer", "train", "--data", drawn, "--model-dir", tmp_path / "model", *TINY)
    assert done.returncode == 0
    noise = ("tensorflow", "cuda", "WARNING", "oneDNN", "I0000", "absl", "Warning")
    assert not [line for line in done.stderr.splitlines() if any(word in line for word in noise)]
    loud = command("trainer", "train", "--data", drawn, "--model-dir", tmp_path / "loud", *TINY, "--verbose")
    assert "oneDNN" in loud.stderr


def test_model_json_says_how_it_was_made(tiny_model: Path) -> None:
    info = json.loads((tiny_model / "model.json").read_text())
    training = info["training"]
    assert (training["batch_size"], training["seed"], training["weights"]) == (32, 0, "none")
    assert (training["main"]["epochs"], training["main"]["learning_rate"], training["head"]) == (4, 0.001, None)
    assert (training["cut"], training["policy"], training["replicas"]) == ("all", "float32", 1)
    assert training["frozen_in_bfloat16"] is False  # no layer is frozen
    assert len(training["epochs_run"]) == 4
    assert 1 <= training["best_epoch"] <= 4
    assert set(info["versions"]) == {"python", "tensorflow", "keras", "numpy", "pillow"}


def test_golden_images_are_those_whose_label_is_clear(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ambiguous golden image would make a correct bfloat16 engine look wrong."""
    parser = flags.Parser()
    train_flags.add_arguments(parser)
    words = ["--data", drawn, "--model-dir", "nowhere", "--backbone", "residual", "--image-size", 32]
    config = train_flags.config_from(parser.parse_args(list(map(str, words))))
    uris = [str(drawn / label / f"0{n}.jpg") for label in ("dress", "hat") for n in (0, 1)]
    images = [read_image(Path(uri).read_bytes(), config.image) for uri in uris]
    rows = {"clear": [0.9, 0.1], "other": [0.2, 0.8], "tie": [0.55, 0.45], "near": [0.41, 0.59]}
    monkeypatch.setattr(golden, "GOLDEN_IMAGES", 2)
    for names, expected in (
        (("clear", "tie", "near", "other"), [0, 3]),
        (("clear", "other", "other", "tie"), [0, 2]),  # one image of each class
        (("tie", "near", "tie", "other"), [1, 3]),
    ):
        said = np.array([rows[name] for name in names])
        evaluated = Evaluated("photos", uris, np.array([0, 0, 1, 1]), said, 0)
        np.testing.assert_array_equal(
            golden.golden_images(evaluated, config.image, config.limits), [images[n] for n in expected]
        )


def test_a_gate_that_is_missed_leaves_no_model(drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(drawn, tmp_path / "model", "--fail-under", "accuracy=1", "--learning-rate", "1e-9") == 1
    assert "the model is not good enough: accuracy is " in capfd.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints-model"]
    shutil.rmtree(tmp_path / "checkpoints-model")
    assert train(drawn, tmp_path / "new/model", "--fail-under", "recall:spoon=1") == 2
    assert not list(tmp_path.iterdir())


def test_log_dir_gets_the_curves_of_the_run(drawn: Path, tmp_path: Path) -> None:
    assert train(drawn, tmp_path / "model", "--log-dir", tmp_path / "logs") == 0
    assert sorted(path.name for path in (tmp_path / "logs/network").iterdir()) == ["training", "validation"]


def test_trains_on_a_list_and_on_idx_files(drawn: Path, tmp_path: Path, shared: Path) -> None:
    listed = [f"{file},{file.parent.name},{number}" for number, file in enumerate(sorted(drawn.rglob("*.jpg")))]
    (tmp_path / "list.csv").write_text("\n".join(["uri,label,n", *listed]) + "\n")
    assert train(tmp_path / "list.csv", tmp_path / "model") == 0
    assert train(drawn, tmp_path / "same") == 0
    assert model_dir.read(tmp_path / "model").info.id == model_dir.read(tmp_path / "same").info.id
    digits = f"{shared}/datasets/mnist/t10k-images-idx3-ubyte.gz"
    arguments = ["--backbone", "pixels", "--epochs", "2", "--color-mode", "grayscale", "--batch-size", "128"]
    assert main(["train", "--data", digits, "--model-dir", str(tmp_path / "digits"), *arguments]) == 0
    info = model_dir.read(tmp_path / "digits").info
    assert info.labels == tuple("0123456789")
    assert info.image.size == 28
    assert info.metrics["accuracy"] > 0.85


def test_the_numbers_of_idx_files_have_names(tmp_path: Path, shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    digits = f"{shared}/datasets/mnist/t10k-images-idx3-ubyte.gz"
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    words = ["--data", digits, "--backbone", "pixels", "--epochs", "2", "--color-mode", "grayscale"]
    words += ["--batch-size", "128", "--model-dir", str(tmp_path / "digits")]
    assert main(["train", *words, "--class-names", str(tmp_path / "names.txt")]) == 0
    info = model_dir.read(tmp_path / "digits").info
    assert info.labels == tuple(sorted(names))
    assert info.metrics["per_class"]["one"]["recall"] > 0.9  # the easiest digit; the index of its label is not 1
    capfd.readouterr()
    flags = ["--model-dir", str(tmp_path / "digits"), "--data", digits]
    assert main(["evaluate", *flags, "--class-names", ",".join(names)]) == 0
    assert re.search(r"^accuracy 0\.[89]", capfd.readouterr().out, re.MULTILINE)
    assert main(["evaluate", *flags, "--class-names", "a,b,c"]) == 2
    assert "has class 9, but --class-names names only classes 0 to 2: name all classes" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", *flags, "--class-names", "a,b,a"])
    assert "has 'a' twice: give each class its own name" in capfd.readouterr().err


def test_each_improvement_is_kept(drawn: Path, tmp_path: Path) -> None:
    import keras

    folder = tmp_path / "improvements"
    assert train(drawn, tmp_path / "model", "--improvements", folder, "--ema", 0.5, "--epochs", 6) == 0
    info = model_dir.read(tmp_path / "model").info
    epochs = info.training["epochs_run"]
    better = [n for n, e in enumerate(epochs, 1) if all(rank(e) > rank(other) for other in epochs[: n - 1])]
    assert len(better) > 1
    files = sorted(path.name for path in folder.iterdir())
    assert files == [f"network-{n:03}-{epochs[n - 1]['val_accuracy']:.4f}.keras" for n in better]
    last = keras.models.load_model(folder / files[-1], compile=False)
    final = keras.models.load_model(tmp_path / "model/model.keras", compile=False)
    for one, other in zip(last.get_weights(), final.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert train(drawn, tmp_path / "other", "--improvements", folder) == 2  # the folder is not empty


def test_an_improvement_that_cannot_be_kept_does_not_end_the_training(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalogue.reasons import Reason, StorageError

    def failing(*_: object) -> None:
        raise StorageError(Reason.PERMISSION_DENIED, "the token has expired")

    monkeypatch.setattr(improvements, "storage", types.SimpleNamespace(write_bytes=failing))
    assert train(drawn, tmp_path / "model", "--improvements", tmp_path / "improvements") == 0
    assert "cannot be written, continuing without network-001-" in capfd.readouterr().err
    assert model_dir.read(tmp_path / "model").info.training["best_epoch"]


def test_names_of_numbers_are_for_idx_files_only(
    drawn: Path, tmp_path: Path, shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(drawn, tmp_path / "model", "--class-names", "a,b,c") == 2
    assert "--class-names applies only to IDX files" in capfd.readouterr().err
    digits = Path(f"{shared}/datasets/mnist/t10k-images-idx3-ubyte.gz")
    names = [f"digit {number}" for number in range(10)]
    for row in (0, 1, 2):
        label = names[idx.read_labeled(str(digits))[1][row]]
        place = tmp_path / "validation" / label / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - idx.pixels(f"{digits}#{row}")).save(place)
    words = ["--data", str(digits), "--validation-data", str(tmp_path / "validation"), "--epochs", "1"]
    words += ["--backbone", "pixels", "--color-mode", "grayscale", "--model-dir", str(tmp_path / "model")]
    assert main(["train", *words, "--class-names", ",".join(names)]) == 0
    assert model_dir.read(tmp_path / "model").info.labels == tuple(names)


def rank(epoch: dict[str, float]) -> tuple[float, float]:
    return epoch["val_accuracy"], -epoch["val_loss"]


def test_checkpoints_of_an_interrupted_run_outlive_a_run_that_fails(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, the network may be down when the second run starts."""
    from catalogue.cli.errors import UserError

    kept = tmp_path / "checkpoints-model"
    for error, code in ((KeyboardInterrupt(), 130), (UserError("no network"), 2)):

        def failing(*_: object, error: BaseException = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(training, "fit", failing)
            assert train(drawn, tmp_path / "model", "--resume") == code
        assert (kept / "features/photos.jsonl").exists()
    assert f"checkpoints kept in {kept}: resume with the same flags and --resume" in capfd.readouterr().err
    assert train(drawn, tmp_path / "model", "--resume") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
