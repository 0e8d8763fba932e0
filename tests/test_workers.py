"""Training in real processes: several workers on loopback, and processes that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from catalogue import model_dir

NETWORK = ("--backbone", "convolutional", "--image-size", "24", "--augment", "--batch-size", "10", "--mixup", "0.2")


@contextlib.contextmanager
def training(repository: Path, data: Path, path: Path, *more: object, **environment: str) -> Iterator[subprocess.Popen]:
    words = [sys.executable, "-m", "trainer", "train", "--data", data, "--model-dir", path, *NETWORK, *more]
    process = subprocess.Popen(
        list(map(str, words)),
        cwd=repository,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen, seconds: float = 300) -> str:
    """Wait until a process has succeeded, and return its standard error."""
    _, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return errors


def wait_for(found: Callable[[], bool], process: subprocess.Popen) -> None:
    for _ in range(1200):
        if found():
            return
        if process.poll() is not None:
            pytest.fail(f"the process ended before it could be killed: {process.communicate()[1]}")
        time.sleep(0.05)
    pytest.fail("the process did not get that far")


def weights(path: Path) -> list[np.ndarray]:
    import keras

    return keras.models.load_model(path / "model.keras").get_weights()


def epoch_of(kept: Path) -> int:
    with np.load(kept / "network.npz") as checkpoint:
        return json.loads(str(checkpoint["meta"]))["epoch"]


def losses(path: Path) -> list[float]:
    return [epoch["loss"] for epoch in model_dir.read(path).info.training["epochs_run"]]


def cluster(free_port: Callable[[], int]) -> list[str]:
    """Return the ``TF_CONFIG`` of each of two workers."""
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    return [json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": n}}) for n in range(2)]


@pytest.fixture
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file that stands in for a pretrained network."""
    import keras

    from trainer.networks import backbones

    keras.utils.set_random_seed(9)
    path = tmp_path_factory.mktemp("weights") / "residual.weights.h5"
    backbones.build("residual", "none", 24).layers[-1].save_weights(path)
    return path


def test_killed_at_any_moment_the_same_command_ends_with_the_same_weights(
    repository: Path, drawn: Path, tmp_path: Path, pretrained: Path
) -> None:
    """Fine-tuning is killed in each phase: encoding photos, encoding copies, fitting the head, fitting the network."""
    flags = ["--backbone", "residual", "--weights", pretrained, "--fine-tune", "add_1", "--copies", 3, "--epochs", 40]
    flags += ["--head-epochs", 30, "--checkpoint-seconds", 0, "--resume"]
    with training(repository, drawn, tmp_path / "whole", *flags) as process:
        ended(process)
    kept = tmp_path / "checkpoints-model"
    moments: list[Callable[[], bool]] = [
        (kept / "features/photos.jsonl").exists,
        (kept / "features/copies.done").exists,
        (kept / "head.npz").exists,
        lambda: (kept / "network.npz").exists() and epoch_of(kept) >= 10,
    ]
    for moment in moments:
        with training(repository, drawn, tmp_path / "model", *flags) as process:
            wait_for(moment, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not (tmp_path / "model").exists()
    with training(repository, drawn, tmp_path / "model", *flags) as process:
        ended(process)
    assert losses(tmp_path / "model") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "model"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "whole"]


def test_two_workers_give_the_losses_of_one(
    repository: Path, drawn: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Dropout is off, because each replica draws its own masks."""
    flags = ("--epochs", 5, "--dropout", 0, "--ema", 0.9)
    with training(repository, drawn, tmp_path / "one", *flags) as process:
        ended(process)
    first, second = cluster(free_port)
    with (
        training(repository, drawn, tmp_path / "two", *flags, TF_CONFIG=first) as chief,
        training(repository, drawn, tmp_path / "two", *flags, TF_CONFIG=second) as other,
    ):
        ended(chief)
        ended(other, 30)
    assert model_dir.read(tmp_path / "two").info.training["replicas"] == 2
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    for one, two in zip(weights(tmp_path / "one"), weights(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_ends_the_others_and_the_run_can_go_on(
    victim: int, repository: Path, drawn: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    flags = ("--epochs", 60, "--checkpoint-seconds", 0, "--resume")
    kept = tmp_path / "checkpoints-model"
    first, second = cluster(free_port)
    with (
        training(repository, drawn, tmp_path / "model", *flags, TF_CONFIG=first) as chief,
        training(repository, drawn, tmp_path / "model", *flags, TF_CONFIG=second) as other,
    ):
        wait_for((kept / "network.npz").exists, chief)
        workers = [chief, other]
        workers[victim].send_signal(signal.SIGKILL)
        _, errors = workers[1 - victim].communicate(timeout=60)
    assert workers[1 - victim].returncode == 1
    last = errors.splitlines()[-1]
    assert "another worker was lost" in last
    assert "--resume" in last
    reached = epoch_of(kept)
    first, second = cluster(free_port)
    with (
        training(repository, drawn, tmp_path / "model", *flags, TF_CONFIG=first) as chief,
        training(repository, drawn, tmp_path / "model", *flags, TF_CONFIG=second) as other,
    ):
        ended(chief)
        ended(other, 30)
    assert reached < len(losses(tmp_path / "model")) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
