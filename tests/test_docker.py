"""The Dockerfile. No image can be built here, so the steps of the file are replayed in an empty environment.

The replay takes minutes, so the tests that need it run only with ``make test-image``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import BOOT
from tests.servers import free_port, require

Instructions = list[tuple[str, str]]
POOL_PORT = 50000  # the port that Beam's `boot` hard-codes for a worker pool


@pytest.fixture(scope="module")
def stages(repository: Path) -> list[Instructions]:
    """The stages of the Dockerfile, each a list of (instruction, rest) without comments."""
    text = (repository / "Dockerfile").read_text().replace("\\\n", "")
    found: list[Instructions] = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            instruction, rest = line.split(" ", 1)
            if instruction == "FROM":
                found.append([])
            found[-1].append((instruction, rest))
    return found


@pytest.fixture(scope="module")
def image(stages: list[Instructions], repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``/app`` of the image, filled by its copy and install steps, without CUDA."""
    root = tmp_path_factory.mktemp("image")
    app = root / "app"
    app.mkdir()
    variables = os.environ | {"EXTRAS": ""}
    variables.pop("PYTHONPATH", None)
    for instruction, rest in (step for stage in stages[-2:] for step in stage):
        if instruction == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for source in sources:
                copy = shutil.copytree if (repository / source).is_dir() else shutil.copy
                copy(repository / source, app / target.removeprefix("/app/"))
        elif instruction == "RUN" and "pip" in rest:
            words = ["sh", "-ec", rest.replace("/app", str(app))]
            step = subprocess.run(words, cwd=app, env=variables, capture_output=True, text=True, check=False)
            assert step.returncode == 0, step.stdout + step.stderr
    return app


@pytest.fixture(scope="module")
def environment(stages: list[Instructions], image: Path) -> dict[str, str]:
    """The environment variables of the image, plus HOME, TMPDIR and KERAS_HOME of the test."""
    words = [word for instruction, rest in stages[-1] if instruction == "ENV" for word in rest.split()]
    found = dict(word.split("=", 1) for word in words)
    path = found.pop("PATH").replace("$PATH", os.defpath)
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "TMPDIR", "KERAS_HOME")}
    return kept | found | {"PATH": path.replace("/app", str(image))}


@pytest.mark.image
def test_the_installed_packages_are_those_that_are_tested(image: Path, repository: Path) -> None:
    pinned = dict(
        re.findall(r"^([\w.\-\[\]]+)==([^\s;]+)", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    )
    words = [image / "venv/bin/pip", "list", "--format=json"]
    listed = subprocess.run(words, capture_output=True, check=True)
    installed = {package["name"]: package["version"] for package in json.loads(listed.stdout)}
    for name in ("tensorflow", "keras", "apache-beam", "google-cloud-storage", "pillow", "numpy"):
        assert installed[name] == pinned[name]
    assert "catalogue-classifier" in installed
    assert "pytest" not in installed


@pytest.mark.image
def test_the_entry_points_start_and_classify(
    image: Path, environment: dict[str, str], tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    def python(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = ["python", "-I", *map(str, arguments)]
        return subprocess.run(
            words, cwd=image.parent, env=environment, executable=image / "venv/bin/python", capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    for arguments in (("trainer", "--help"), ("trainer.task", "--help"), ("pipeline", "classify", "--help")):
        assert "usage: python -m" in python("-m", *arguments).stdout
    done = python(
        "-m", "pipeline", "classify", "--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/_SUCCESS").exists()
    # A flex template passes its own parameters, some of which Beam does not know, and parameters of its launcher.
    launched = python(image / "launch.py", "--input=gs://shop/in", "--overwrite=true", "--runner=DataflowRunner")
    assert "the following arguments are required: --model-dir, --output" in launched.stderr


@pytest.fixture
def pool(image: Path, environment: dict[str, str], stages: list[Instructions], tmp_path: Path) -> Iterator[None]:
    """A worker pool, started as the image starts it with ``--worker_pool``; `boot` is mounted at the same path."""
    require(BOOT, "Go")
    free_port()
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not permit mounting a folder")
    (tmp_path / "opt/apache/beam").mkdir(parents=True)
    shutil.copy(BOOT, tmp_path / "opt/apache/beam/boot")
    (entry,) = json.loads(next(rest for instruction, rest in stages[-1] if instruction == "ENTRYPOINT"))
    script = f"mount --bind {tmp_path / 'opt'} /opt && exec {entry} --worker_pool"
    words = ["unshare", "--mount", "--map-root-user", "--pid", "--fork", "--kill-child", "sh", "-ec", script]
    with (tmp_path / "pool.log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        for _ in range(100):
            if "Listening" in (tmp_path / "pool.log").read_text() or process.poll() is not None:
                break
            time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.image
def test_a_job_runs_on_its_pool_of_workers(pool: None, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", f"--port={port}"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        flags = ["--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run", "--engine", "tensorflow",
                 "--runner=PortableRunner", f"--job_endpoint=127.0.0.1:{port}", "--environment_type=EXTERNAL",
                 f"--environment_config=127.0.0.1:{POOL_PORT}"]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "classify", *map(str, flags)], capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
    finally:
        server.kill()
        server.wait()
    assert done.returncode == 0, done.stderr + (tmp_path / "pool.log").read_text()
    assert json.loads((tmp_path / "run/run.json").read_text())["counts"]["predictions"] == 36


def test_boot_is_that_of_the_pinned_beam(stages: list[Instructions], repository: Path) -> None:
    (version,) = re.findall(r"^apache-beam==(\S+)", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert ("FROM", f"apache/beam_python3.11_sdk:{version} AS beam") in stages[0]
    assert ("COPY", "--from=beam /opt/apache/beam /opt/apache/beam") in stages[-1]
    assert stages[-1][-1] == ("ENTRYPOINT", '["/opt/apache/beam/boot"]')
    assert f"container@v{version}" in (repository / "Makefile").read_text()


def test_it_does_not_run_as_root_and_has_no_build_tools(stages: list[Instructions]) -> None:
    assert [rest for instruction, rest in stages[-1] if instruction == "USER"] == ["1000"]
    assert stages[-1][0][1].split(":")[1].split()[0].endswith("-slim-bookworm")
    assert [rest for instruction, rest in stages[-1] if instruction == "RUN"] == [
        "useradd --create-home --uid 1000 classifier"
    ]


def test_hadolint_finds_nothing(repository: Path) -> None:
    words = [Path(sys.executable).with_name("hadolint"), repository / "Dockerfile"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_context_holds_what_is_copied(stages: list[Instructions], repository: Path) -> None:
    kept = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for stage in stages
        for name, rest in stage
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == kept
