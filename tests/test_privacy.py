"""The commands and their imports send no telemetry, and leave no files in unexpected places."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Code of sitecustomize, which every Python process imports first.
RECORDER = """
import os, socket
resolve, connect = socket.getaddrinfo, socket.socket.connect
def record(host):
    with open(os.environ["LOOKUPS"], "a") as file:
        file.write(f"{host}\\n")
def getaddrinfo(host, *arguments, **options):
    record(host)
    return resolve(host, *arguments, **options)
def recorded_connect(self, address):
    if isinstance(address, tuple):
        record(address[0])
    return connect(self, address)
socket.getaddrinfo, socket.socket.connect = getaddrinfo, recorded_connect
"""
LOCAL = {"localhost", "127.0.0.1", "::1", "::", "0.0.0.0", "None", ""}


@pytest.fixture
def recorded(tmp_path: Path, repository: Path) -> tuple[Path, dict[str, str]]:
    """A folder with an empty home and a recorder of network lookups, and the environment variables that select them."""
    for name in ("home", "recorder", "tmp", "keras"):
        (tmp_path / name).mkdir()
    (tmp_path / "recorder/sitecustomize.py").write_text(RECORDER)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "CI", "TF_BUILD", "JENKINS"))
    }
    return tmp_path, kept | {
        "HOME": str(tmp_path / "home"), "KERAS_HOME": str(tmp_path / "keras"), "TMPDIR": str(tmp_path / "tmp"),
        "LOOKUPS": str(tmp_path / "lookups"), "PYTHONPATH": f"{tmp_path / 'recorder'}:{repository}",
    }  # fmt: skip


def run(words: list[object], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    recorder = folder / "lookups"
    assert (set(recorder.read_text().splitlines()) if recorder.exists() else set()) <= LOCAL
    assert not list((folder / "home").rglob("*"))
    assert not list((folder / "tmp").iterdir())


def test_classifying(recorded: tuple[Path, dict[str, str]], tiny_model: Path, drawn: Path) -> None:
    pytest.importorskip("openvino")
    folder, environment = recorded
    words = ["pipeline", "classify", "--input", drawn, "--model-dir", tiny_model, "--output", folder / "run"]
    run([*words, "--engine", "openvino"], folder, environment)
    assert {entry.name for entry in folder.iterdir()} - {"lookups"} == {"home", "keras", "recorder", "run", "tmp"}


def test_training_and_evaluating(recorded: tuple[Path, dict[str, str]], drawn: Path) -> None:
    folder, environment = recorded
    small = ["--backbone", "small", "--image-size", 32, "--epochs", 1]
    run(["trainer", "train", "--data", drawn, "--model-dir", folder / "model", *small], folder, environment)
    run(["trainer", "evaluate", "--data", drawn, "--model-dir", folder / "model"], folder, environment)
    sweep = ["trainer", "sweep", "--data", drawn, "--output", folder / "sweep", "--vary", "dropout", 0, 0.2, *small]
    run(sweep, folder, environment)
    assert {entry.name for entry in folder.iterdir()} - {"lookups"} == {
        "home", "keras", "model", "recorder", "sweep", "tmp",
    }  # fmt: skip


NOBODY = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]  # a user without an account, as in containers


def test_without_a_home_and_a_name(tmp_path: Path, tiny_model: Path, drawn: Path, repository: Path) -> None:
    """In particular, no folder called ``~`` is created."""
    if not shutil.which("unshare") or subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not available")
    tmp_path.chmod(0o777)
    unknown = ("HOME", "USER", "LOGNAME", "KERAS_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unknown}
    environment["PYTHONPATH"] = str(repository)
    small = ["--backbone", "small", "--image-size", "32", "--epochs", "1"]
    for words in (
        ["pipeline", "classify", "--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run"],
        ["trainer", "train", "--data", drawn, "--model-dir", tmp_path / "model", *small],
    ):
        command = [*NOBODY, sys.executable, "-m", *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {entry.name for entry in tmp_path.iterdir()} == {"model", "run"}
