"""The files of deploy/: they parse, match their schemas, and contain valid commands.

Where possible they are run: the DAG in a real Airflow (``make test-airflow``), the script for Spark with
``make test-spark``, the job on Flink with ``make soak-flink``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from catalogue.cli import flags
from pipeline import classify_flags
from pipeline.runner import runners
from tests import engines
from tests.servers import require

AIRFLOW = Path(__file__).parents[1] / "build/airflow"


@pytest.fixture
def deploy(repository: Path) -> Path:
    return repository / "deploy"


def assert_command(words: list[str]) -> Any:
    """Check that the arguments are flags of ``classify`` or of Beam, and return the values of those of ``classify``."""
    parser = flags.Parser(prog="classify")
    classify_flags.add_arguments(parser)
    arguments, unknown = parser.parse_known_args(words)
    runners.refuse_unknown_beam_flags(unknown, parser.flags())
    runners.beam_options(unknown)
    return arguments


def loaded(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def test_the_cron_job_of_kubernetes(deploy: Path) -> None:
    job = loaded(deploy / "kubernetes/cronjob.yaml")
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    spec = job["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (script,) = container["args"]
    words = shlex.split(script.replace("$JOB", "classify-29401320"))
    assert words[:5] == ["exec", "python", "-m", "pipeline", "classify"]
    arguments = assert_command(words[5:])
    # All pods of a night share a run directory, in the folder that is searched for the previous run.
    assert arguments.output == f"{arguments.previous}/classify-29401320"


@pytest.fixture
def run(deploy: Path) -> dict[str, Any]:
    return loaded(deploy / "flink/run.yaml")


def test_the_deployment_on_flink(run: dict[str, Any], deploy: Path, repository: Path) -> None:
    jsonschema.validate(run, json.loads((repository / "tests/data/flinkdeployment.schema.json").read_text()))
    spec = run["spec"]
    managers = [spec[name]["podTemplate"] for name in ("jobManager", "taskManager")]
    for template in managers:
        kubernetes_validate.validate(template, kubernetes_validate.latest_version(), strict=True)
        mounted = {
            mount["mountPath"] for own in template["spec"]["containers"] for mount in own.get("volumeMounts", ())
        }
        assert spec["job"]["jarURI"] == "local:///opt/flink/lib/job.jar"
        assert "/opt/flink/lib/job.jar" in mounted  # otherwise workers would restart for each step
    arguments = {own["name"]: own for own in managers[0]["spec"]["initContainers"]}["job"]["args"]
    options = runners.beam_options(
        [word for word in arguments if "_" in word or "parallelism" in word]
    ).get_all_options()
    assert_command(arguments)
    assert options["environment_type"] == "EXTERNAL"
    assert int(options["parallelism"]) == spec["job"]["parallelism"]
    # One worker for each slot, from the pool beside the TaskManager.
    assert str(options["sdk_worker_parallelism"]) == spec["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]
    (pool,) = [own for own in managers[1]["spec"]["containers"] if own["name"] == "workers"]
    assert pool["args"] == ["--worker_pool"]
    assert options["environment_config"] == f"localhost:{pool['ports'][0]['containerPort']}"
    assert options["output_executable_path"] == "/staging/job.jar"
    assert spec["job"]["entryClass"] == engines.JAR_RUNNERS["flink"]


def test_the_volume_of_the_deployment(run: dict[str, Any], deploy: Path) -> None:
    claim = loaded(deploy / "flink/volume.yaml")
    kubernetes_validate.validate(claim, kubernetes_validate.latest_version(), strict=True)
    for name in ("jobManager", "taskManager"):
        (volume,) = run["spec"][name]["podTemplate"]["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_guide_makes_each_night_its_own_run_directory(run: dict[str, Any], deploy: Path, repository: Path) -> None:
    guide = (repository / "docs/guides/flink_on_kubernetes.md").read_text()
    (words,) = re.findall(r"^(sed .*) deploy/flink/run.yaml \|", guide, re.MULTILINE)
    words = words.replace("$(date +%F)", "2031-02-03")
    text = subprocess.run(
        ["sh", "-c", f"{words} {deploy}/flink/run.yaml"], capture_output=True, text=True, check=True
    ).stdout
    changed = {line for line in text.splitlines() if line not in (deploy / "flink/run.yaml").read_text().splitlines()}
    assert changed == {"              - --output=gs://shop/runs/2031-02-03"}
    assert yaml.safe_load(text)["metadata"]["name"] == run["metadata"]["name"]


@pytest.mark.flink
def test_the_memory_of_the_deployment_is_enough_for_the_tasks_of_a_run(run: dict[str, Any], tmp_path: Path) -> None:
    """Flink itself computes the memory sizes here. ``make soak-flink`` runs jobs with less memory."""
    spec = run["spec"]
    settings = spec["flinkConfiguration"] | {
        "jobmanager.memory.process.size": spec["jobManager"]["resource"]["memory"],
        "taskmanager.memory.process.size": spec["taskManager"]["resource"]["memory"],
    }
    found = engines.flink_memory(settings, tmp_path)
    needed = {
        name: int(str(engines.FLINK[f"taskmanager.memory.{name}"]).removesuffix("m")) << 20
        for name in ("task.heap.size", "managed.size", "network.min", "jvm-metaspace.size")
    }
    assert {name: found[f"taskmanager.memory.{name}"] >= size for name, size in needed.items()} == dict.fromkeys(
        needed, True
    )


def test_the_image_for_flink(deploy: Path, repository: Path) -> None:
    words = [Path(sys.executable).with_name("hadolint"), deploy / "flink/Dockerfile"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    text = (deploy / "flink/Dockerfile").read_text()
    (flink, beam) = re.search(r"beam-runners-flink-([\d.]+)-job-server-([\d.]+)\.jar", text).groups()  # type: ignore[union-attr]
    tested = (repository / "tests/data/engines/flink/pom.xml").read_text()
    assert f"beam-runners-flink-{flink}</artifactId>" in tested
    assert f"<version>{beam}</version>" in tested
    assert f"FROM flink:{flink}-java17" in text


def test_the_script_for_spark(deploy: Path, repository: Path) -> None:
    text = (deploy / "spark/submit.sh").read_text()
    version = re.search(r"beam-runners-spark-3-job-server-([\d.]+)\.jar", text)
    assert version
    assert f"<version>{version[1]}</version>" in (repository / "tests/data/engines/spark/pom.xml").read_text()
    assert engines.JAR_RUNNERS["spark"] in text


@pytest.fixture
def airflow(deploy: Path, tiny_model: Path, drawn: Path, tmp_path: Path) -> dict[str, str]:
    """The environment variables of an Airflow installation that has the DAG and a database of its own."""
    require(AIRFLOW / ".done", "pip")
    variables = {
        "PYTHON": sys.executable, "CATALOGUE": str(drawn), "MODEL_DIR": str(tiny_model), "RUNS": str(tmp_path / "runs")
    }  # fmt: skip
    environment = os.environ | {f"AIRFLOW_VAR_CLASSIFY_{name}": value for name, value in variables.items()}
    environment |= {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(deploy / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    subprocess.run([AIRFLOW / "bin/airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


@pytest.mark.airflow
def test_the_dag_of_airflow(airflow: dict[str, str], drawn: Path, tmp_path: Path) -> None:
    def night(date: str) -> subprocess.CompletedProcess[str]:
        words = [AIRFLOW / "bin/airflow", "dags", "test", "classify_nightly", date]
        return subprocess.run(words, env=airflow, capture_output=True, text=True, check=False)

    for date, classified in (("2026-11-28", 36), ("2026-11-29", 0), ("2026-11-29", 0)):  # a cleared task runs again
        done = night(date)
        assert done.returncode == 0, done.stdout + done.stderr
        record = json.loads((tmp_path / "runs" / date / "run.json").read_text())
        assert (record["counts"]["classified"], record["counts"]["predictions"]) == (classified, 36)
