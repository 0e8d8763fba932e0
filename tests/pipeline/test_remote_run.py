"""Runs on runners of many machines: Beam's job server in a process of its own, and Dataflow without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalogue import model_dir
from catalogue.images.spec import Limits
from pipeline.graph import classification
from pipeline.run_dir.run import Run, now
from pipeline.runner import runners
from tests.conftest import spoilt
from tests.servers import free_port

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Rows = Callable[..., list[dict[str, Any]]]

DATAFLOW = ["--runner=DataflowRunner", "--project=catalogue", "--region=europe-west4",
            "--temp_location=gs://catalogue-bucket/tmp", "--no_auth"]  # fmt: skip


@pytest.fixture(scope="module")
def portable() -> Iterator[list[str]]:
    """The flags for a job server."""
    port = free_port()
    words = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", f"--port={port}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield ["--runner=PortableRunner", f"--job_endpoint=127.0.0.1:{port}", "--environment_type=LOOPBACK"]
    process.kill()
    process.wait()


def test_a_job_of_a_job_server_has_the_rows_of_a_local_run(
    command: Command, read_rows: Rows, portable: list[str], tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    words = ["classify", "--input", drawn, "--model-dir", tiny_model, "--precision", "float32", "--output"]
    for output, flags in ((tmp_path / "local", ["--direct_num_workers=1"]), (tmp_path / "job", portable)):
        done = command("pipeline", *words, output, *flags)
        assert done.returncode == 0, done.stderr
    first, line, *progress = done.stderr.splitlines()
    assert first.startswith("classifying ")
    assert re.fullmatch(r"Created job with id: \[[^\"\n\s]+\]", line)  # which Airflow's operator looks for
    assert all(other.startswith(("listing: ", "classifying: ")) for other in progress)
    own, expected = ({row["uri"]: row for row in read_rows(tmp_path / name)} for name in ("job", "local"))
    assert {uri: row["label"] for uri, row in own.items()} == {uri: row["label"] for uri, row in expected.items()}
    assert not (tmp_path / "job/_lock").exists()
    attached = command(
        "pipeline", "classify", "--attach", tmp_path / "job"
    )  # it has finished: its table is shown again
    assert (attached.returncode, "36 predictions" in attached.stdout) == (0, True), attached.stderr


def test_a_job_that_failed_leaves_nothing_but_its_journal(
    command: Command, portable: list[str], model_copy: Path, drawn: Path, tmp_path: Path
) -> None:
    words = ["--input", drawn, "--model-dir", spoilt(model_copy), "--output", tmp_path / "run"]
    done = command("pipeline", "classify", *words, *portable)
    assert done.returncode == 2, done.stderr
    assert "does not reproduce its golden images" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_there_is_nothing_to_attach_to(command: Command, tmp_path: Path) -> None:
    done = command("pipeline", "classify", "--attach", tmp_path / "none")
    assert done.returncode == 2
    assert "there is no job that goes on elsewhere, and no run that has finished" in done.stderr
    done = command("pipeline", "classify", "--cancel", "--input", "x", "--model-dir", "y", "--output", tmp_path / "run")
    assert (done.returncode, "--cancel: give --attach RUN_DIR, too" in done.stderr) == (2, True)


def test_a_dry_run_for_dataflow_says_that_the_graph_is_valid(
    command: Command, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    words = ["--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run"]
    done = command("pipeline", "classify", *words, *DATAFLOW, "--dry_run=True", "--sdk_container_image=shop/image")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "the graph is valid for DataflowRunner\n"
    assert not (tmp_path / "run").exists()


def test_the_graph_can_be_sent_to_dataflow(tiny_model: Path) -> None:
    """Beam's dry run makes the job that Dataflow would be sent, everything in it pickled, without a network."""
    import apache_beam as beam

    from tests.pipeline.test_classify_flags import parsed

    flags = [*DATAFLOW, "--dry_run=True", "--sdk_container_image=shop/image"]
    info = model_dir.read(tiny_model).info
    run = Run(
        "gs://b/run", "token", (), ("gs://b/in",), "gs://b/model", info, "parquet", 1000, 2, Limits(), 0.05, None,
        None, (), False, now(),
    )  # fmt: skip
    pipeline = beam.Pipeline(options=runners.beam_options(flags))
    classification(pipeline, parsed("--input", "gs://b/in", "--model-dir", "gs://b/model"), run)
    job = pipeline.run().job
    names = {transform.unique_name for transform in job.proto_pipeline.components.transforms.values()}
    steps = ("Manifest", "Group by location", "Read", "Decode", "Classify", "Parts", "Commit")
    assert set(steps) <= {name.split("/")[0] for name in names}
    images = {json.loads(json.dumps(str(env.payload))) for env in job.proto_pipeline.components.environments.values()}
    assert any("shop/image" in image for image in images)
