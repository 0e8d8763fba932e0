"""The Dockerfile. Nothing here can build an image, so its install steps are replayed in an empty environment.

That takes minutes: ``make test-image`` runs the tests that need it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def instructions(repository: Path) -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), without its comments."""
    lines = (repository / "Dockerfile").read_text().splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line.strip() and not line.startswith("#")]  # type: ignore[misc]


@pytest.fixture(scope="module")
def image(
    instructions: list[tuple[str, str]], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What the image would hold: its files, and an environment in which its pip steps were run, without CUDA."""
    root = tmp_path_factory.mktemp("image")
    app, environment = root / "app", root / "venv"
    app.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    variables = os.environ | {"PATH": f"{environment}/bin:{os.environ['PATH']}", "EXTRAS": ""}
    variables.pop("PYTHONPATH", None)
    for instruction, rest in instructions:
        if instruction == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for source in sources:
                copy = shutil.copytree if (repository / source).is_dir() else shutil.copy
                copy(repository / source, app / target)
        elif instruction == "RUN" and rest.startswith("pip"):
            step = subprocess.run(
                ["sh", "-ec", rest], cwd=app, env=variables, capture_output=True, text=True, check=False
            )
            assert step.returncode == 0, step.stdout + step.stderr
    return {"python": environment / "bin/python", "root": root}


@pytest.mark.image
def test_the_installed_packages_are_those_that_are_tested(image: dict[str, Path], repository: Path) -> None:
    pinned = dict(
        re.findall(r"^([\w.\-\[\]]+)==([^\s;]+)", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    )
    listed = subprocess.run([image["python"], "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    installed = {package["name"]: package["version"] for package in json.loads(listed.stdout)}
    for name in ("tensorflow", "keras", "apache-beam", "google-cloud-storage", "pillow", "numpy"):
        assert installed[name] == pinned[name]
    assert "catalogue-classifier" in installed
    assert "pytest" not in installed


@pytest.mark.image
def test_the_entry_points_start_and_classify(
    image: dict[str, Path], tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    def python(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [image["python"], "-I", "-m", *map(str, arguments)]
        return subprocess.run(words, cwd=image["root"], capture_output=True, text=True, check=False)

    for arguments in (("trainer", "--help"), ("trainer.task", "--help"), ("pipeline", "classify", "--help")):
        assert "usage: python -m" in python(*arguments).stdout
    # What `boot` starts in a worker; without a control service it says so.
    worker = python("apache_beam.runners.worker.sdk_worker_main")
    assert "CONTROL_API_SERVICE_DESCRIPTOR" in worker.stderr
    done = python("pipeline", "classify", "--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/_SUCCESS").exists()


def test_boot_is_that_of_the_pinned_beam(instructions: list[tuple[str, str]], repository: Path) -> None:
    (version,) = re.findall(r"^apache-beam==(\S+)", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert ("FROM", f"apache/beam_python3.11_sdk:{version} AS beam") in instructions
    assert ("COPY", "--from=beam /opt/apache/beam /opt/apache/beam") in instructions
    assert instructions[-1] == ("ENTRYPOINT", '["/opt/apache/beam/boot"]')


def test_it_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    users = [rest for instruction, rest in instructions if instruction == "USER"]
    assert users == ["classifier"]


def test_the_context_holds_what_is_copied(instructions: list[tuple[str, str]], repository: Path) -> None:
    kept = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for name, rest in instructions if name == "COPY" and "--from" not in rest for source in rest.split()[:-1]
    }
    assert copied == kept
