"""Runs on engines that end with the command; ``make test-flink``, ``test-spark`` and ``test-prism`` run them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import engines

Command = Callable[..., "subprocess.CompletedProcess[str]"]

CREATED = r"Created job with id: \[[^\"\n\s]+\]"  # Airflow's Beam operator looks for this line
OF_JAVA, PRISM = ([pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
                  for names in (("flink", "spark"), ("prism",)))  # fmt: skip


@pytest.fixture(scope="module", params=OF_JAVA + PRISM)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags for the engine."""
    return engines.embedded(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=OF_JAVA)
def engine_of_java(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags for the engine."""
    return engines.embedded(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def catalogue(clothing: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of real photos, odd files, a repeated photo and a missing file, with article numbers and prices."""
    photos = sorted((clothing / "validation").rglob("*.jpg"))
    odd = sorted((shared / "datasets/odd-images").iterdir())
    uris = [*photos, *odd, photos[0], Path("/none.jpg")]
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.csv"
    with path.open("w", newline="") as file:
        rows = ([uri, f"A-{number}", number / 4] for number, uri in enumerate(uris))
        csv.writer(file).writerows([["uri", "article", "price"], *rows])
    return path


class Runs:
    """Runs of ``classify`` on the catalogue."""

    def __init__(self, command: Command, catalogue: Path, model: Path) -> None:
        self._command = command
        self._flags = ["--input", catalogue, "--model-dir", model, "--output-format", "parquet",
                       "--max-failure-rate", 0.5, "--engine", "openvino", "--precision", "float32"]  # fmt: skip

    def __call__(self, output: Path, *flags: object) -> str:
        """Run ``classify`` and return its standard error."""
        done = self._command("pipeline", "classify", *self._flags, "--output", output, *flags)
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def run(command: Command, catalogue: Path, tiny_model: Path) -> Runs:
    return Runs(command, catalogue, tiny_model)


@pytest.fixture(scope="module")
def local(run: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("local") / "run"
    run(output, "--direct_num_workers=2")
    return output


def rows(run: Path, folder: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found = [row for file in sorted((run / folder).iterdir()) for row in pq.read_table(file).to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], str(row)))


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def assert_equal(run: Path, local: Path) -> None:
    """Check that a run has the same rows, dead letters and counts as a run of the local runner."""
    assert (run / "_SUCCESS").exists()
    assert rows(run, "dead_letters") == rows(local, "dead_letters")
    found, expected = rows(run, "predictions"), rows(local, "predictions")
    assert [without_scores(row) for row in found] == [without_scores(row) for row in expected]
    scores = [row["score"] for row in found]
    assert scores == pytest.approx([row["score"] for row in expected], abs=1e-6)
    counts, own = record(run)["counts"], record(local)["counts"]
    for name in ("inputs", "predictions", "dead_letters", "duplicates"):
        assert counts[name] == own[name]


def without_scores(row: dict[str, Any]) -> dict[str, Any]:
    top = [entry["label"] for entry in row["top"]]
    return {name: value for name, value in row.items() if name not in ("score", "top")} | {"top": top}


def test_the_rows_are_those_of_the_local_runner(run: Runs, engine: Sequence[str], local: Path, tmp_path: Path) -> None:
    said = run(tmp_path / "run", *engine)
    assert_equal(tmp_path / "run", local)
    batches = Counter({int(size): count for size, count in record(tmp_path / "run")["batches"].items()})
    assert batches[16] >= 0.8 * sum(batches.values())
    lines = [line for line in said.splitlines() if not line.startswith(("classifying: ", "listing: "))]
    assert [line.split()[0] for line in lines] == ["classifying", "starting", "Created"], said
    assert re.fullmatch(CREATED, lines[2])


def test_a_job_in_a_jar_completes_its_run_and_does_nothing_when_it_is_started_again(
    run: Runs, engine_of_java: Sequence[str], local: Path, tmp_path: Path
) -> None:
    jar, output = tmp_path / "job.jar", tmp_path / "run"
    flags = [*engines.processes(), "--environment_cache_millis=10000", f"--output_executable_path={jar}"]
    said = run(output, *engine_of_java, *flags)
    assert said.splitlines()[-1] == f"the job was written to {jar}: run it on an engine to complete {output}"
    assert not (output / "run.json").exists()
    for _ in range(2):
        engines.run_jar(engine_of_java, jar)
        assert_equal(output, local)
        assert {file.name for file in output.iterdir()} == {file.name for file in local.iterdir()}


def test_earlier_results_are_reused(run: Runs, engine: Sequence[str], local: Path, tmp_path: Path) -> None:
    said = run(tmp_path / "run", *engine, "--previous", local, "--verbose")
    assert len(re.findall(f"^{CREATED}$", said, re.MULTILINE)) == 1
    assert_equal(tmp_path / "run", local)
    counts = record(tmp_path / "run")["counts"]
    assert (counts["classified"], counts["retried"]) == (0, counts["dead_letters"].get("read_failed", 0))
    assert counts["reused"]["unread"] >= 0.95 * counts["inputs"]


@pytest.mark.spark
def test_the_script_of_deploy_for_spark(
    repository: Path, catalogue: Path, tiny_model: Path, local: Path, tmp_path: Path
) -> None:
    server = engines.embedded("spark", tmp_path)[-1].partition("=")[2]
    engines.write_spark_submit(tmp_path / "bin/spark-submit")
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "JOB_SERVER": server, "SPARK_MASTER": "local[2]", "BEAM_BOOT": str(engines.BOOT)}
    flags = ["--input", catalogue, "--model-dir", tiny_model, "--output-format", "parquet", "--max-failure-rate", 0.5,
             "--engine", "openvino", "--precision", "float32"]  # fmt: skip
    words = [repository / "deploy/spark/submit.sh", tmp_path / "run", *flags]
    done = subprocess.run(
        list(map(str, words)), env=os.environ | environment, cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_equal(tmp_path / "run", local)
