"""Tests of runs on other runners: Beam's job server in a process of its own, and Dataflow without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalogue import model_dir, storage
from catalogue.cli.errors import CommandFailed, Fault, Interrupted, UserError
from catalogue.images.spec import Limits
from catalogue.reasons import Reason, StorageError
from pipeline import remote_run
from pipeline.errors import JobFailedError, JobGoesOnError
from pipeline.graph import classification
from pipeline.remote_run import attach, is_at_work
from pipeline.run_dir.lock import Holder, held, read_holder
from pipeline.run_dir.run import Run, now
from pipeline.runner import runners
from pipeline.runner.jobs import JobName
from tests import servers
from tests.conftest import spoilt
from tests.servers import BUCKET, free_port, upload

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Rows = Callable[..., list[dict[str, Any]]]

DATAFLOW = ["--runner=DataflowRunner", "--project=catalogue", "--region=europe-west4",
            "--temp_location=gs://catalogue-bucket/tmp", "--no_auth"]  # fmt: skip


@pytest.fixture(scope="module")
def portable() -> Iterator[list[str]]:
    """Flags that run a job on a job server, which is a separate process."""
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
    assert re.fullmatch(r"Created job with id: \[[^\"\n\s]+\]", line)  # Airflow's operator parses this line
    assert all(other.startswith(("listing: ", "classifying: ")) for other in progress)
    own, expected = ({row["uri"]: row for row in read_rows(tmp_path / name)} for name in ("job", "local"))
    assert {uri: row["label"] for uri, row in own.items()} == {uri: row["label"] for uri, row in expected.items()}
    assert not (tmp_path / "job/_lock").exists()
    # For a finished run, --attach only prints the table again.
    attached = command("pipeline", "classify", "--attach", tmp_path / "job")
    assert (attached.returncode, "36 predictions" in attached.stdout) == (0, True), attached.stderr


def test_a_job_that_failed_leaves_nothing_but_its_journal(
    command: Command, portable: list[str], model_copy: Path, drawn: Path, tmp_path: Path
) -> None:
    words = ["--input", drawn, "--model-dir", spoilt(model_copy), "--output", tmp_path / "run"]
    done = command("pipeline", "classify", *words, *portable)
    assert done.returncode == 2, done.stderr
    assert re.search(r"does not reproduce \d+ of its \d+ golden images", done.stderr.splitlines()[-1])
    assert not (tmp_path / "run").exists()


def test_there_is_nothing_to_attach_to(command: Command, tmp_path: Path) -> None:
    done = command("pipeline", "classify", "--attach", tmp_path / "none")
    assert done.returncode == 2
    assert "does not exist: give a run directory" in done.stderr
    done = command("pipeline", "classify", "--cancel", "--input", "x", "--model-dir", "y", "--output", tmp_path / "run")
    assert (done.returncode, "--cancel requires --attach: add --attach RUN_DIR" in done.stderr) == (2, True)


def test_a_dry_run_for_dataflow_says_that_the_graph_is_valid(command: Command, tiny_model: Path, drawn: Path) -> None:
    with servers.google() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        upload(tiny_model, f"gs://{BUCKET}/model")
        upload(drawn / "hat", f"gs://{BUCKET}/photos")
        words = ["--input", f"gs://{BUCKET}/photos", "--model-dir", f"gs://{BUCKET}/model"]
        words += ["--output", f"gs://{BUCKET}/run", *DATAFLOW, "--dry_run=True", "--accelerator=nvidia-l4"]
        done = command("pipeline", "classify", *words, "--sdk_container_image=shop/image", **environment)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr == "the graph is valid for DataflowRunner\n"
        assert not list(storage.list_files(f"gs://{BUCKET}/run"))


def test_a_dry_run_for_dataflow_needs_no_account(command: Command, tiny_model: Path, drawn: Path) -> None:
    words = ["--input", drawn, "--model-dir", tiny_model, "--output", "gs://shop/run", *DATAFLOW, "--dry_run=True"]
    with servers.google() as environment:
        done = command("pipeline", "classify", *words, "--sdk_container_image=shop/image", **environment)
    *warnings, last = done.stderr.splitlines()
    assert (done.returncode, last) == (0, "the graph is valid for DataflowRunner"), done.stderr
    assert [line.split(" is on this machine")[0] for line in warnings] == [
        f"warning: --input {drawn}", f"warning: --model-dir {tiny_model}"
    ]  # fmt: skip


@pytest.mark.parametrize("flag", ["--input", "--model-dir", "--output", "--previous"])
def test_a_path_of_this_machine_is_of_no_use_to_dataflow(
    command: Command, tiny_model: Path, tmp_path: Path, flag: str
) -> None:
    paths = {
        "--input": "gs://b/in",
        "--model-dir": "gs://b/model",
        "--output": "gs://b/run",
        "--previous": "gs://b/old",
    }
    words = [word for pair in (paths | {flag: str(tmp_path)}).items() for word in pair]
    done = command("pipeline", "classify", *words, *DATAFLOW, "--sdk_container_image=shop/image")
    assert done.returncode == 2
    assert f"{flag} {tmp_path} is on this machine" in done.stderr


def test_a_dry_run_is_for_dataflow(command: Command, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    words = ["--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run", "--dry_run=True"]
    done = command("pipeline", "classify", *words)
    assert (done.returncode, "--dry_run requires --runner DataflowRunner" in done.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


class EndlessJob:
    """A job that was submitted by another process and runs until it is canceled."""

    def __init__(self, *, obeys: bool = True) -> None:
        self.name, self._obeys, self._ended = JobName("PortableRunner", "job_1", "nowhere:1"), obeys, threading.Event()

    def wait(self) -> None:
        self._ended.wait()
        raise JobFailedError("it was canceled")

    def has_ended(self) -> bool:
        return self._ended.is_set()

    def cancel(self) -> None:
        if not self._obeys:
            raise CommandFailed("it cannot be canceled")
        self._ended.set()

    def counters(self, namespace: str) -> None:
        """Return None: only the files of the run have counters."""


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose command has ended while its job continues."""
    monkeypatch.setattr(remote_run, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(remote_run, "_SECONDS_TO_END", 0.2)
    monkeypatch.setattr(Holder, "is_gone", lambda self: True)
    monkeypatch.setattr(remote_run, "ignore_interrupts", lambda: None)
    run = tmp_path / "run"
    files = {"job.json": EndlessJob().name.to_json(), "chunk-1": "x", "started": "", "part": "x"}
    for name, content in files.items():
        storage.write_text(f"{run}/_temporary/token/{name}", content)
    with pytest.raises(JobGoesOnError), held(str(run), "token", "then"):
        raise JobGoesOnError("interrupted", 2)
    return run


def is_untouched(run: Path) -> bool:
    holder = read_holder(str(run))
    return bool(holder and holder.token == "token" and len(list((run / "_temporary/token").iterdir())) == 4)


def test_a_job_that_is_canceled_leaves_its_journal(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_run.jobs, "find", lambda name: EndlessJob())
    with pytest.raises(Fault, match="was canceled; finished work is kept"):
        attach(str(left), cancel=True)
    assert {file.name for file in (left / "_temporary/token").iterdir()} == {"chunk-1", "started"}
    assert read_holder(str(left)) is None


@pytest.mark.parametrize("job", [EndlessJob(obeys=False), None], ids=["does not obey", "cannot be reached"])
def test_a_job_that_cannot_be_canceled_keeps_its_files_and_its_lock(
    job: EndlessJob | None, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_run.jobs, "find", lambda name: job)
    with pytest.raises(
        JobGoesOnError, match=f"cannot be canceled.*; to follow the job: .* --attach {left}; to cancel the job: "
    ):
        attach(str(left), cancel=True)
    assert is_untouched(left)


def test_whatever_happens_while_a_job_is_followed_it_keeps_its_files_and_its_lock(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (
        StorageError(Reason.READ_FAILED, "503"),
        CommandFailed("no credentials"),
        Interrupted(15),
        OSError("x"),
    ):

        def find(name: JobName, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(remote_run.jobs, "find", find)
        with pytest.raises(JobGoesOnError) as found:
            attach(str(left), cancel=False)
        assert found.value.signal == (15 if isinstance(error, Interrupted) else None)
        assert is_untouched(left)


def test_a_storage_that_fails_for_a_while_does_not_end_the_wait(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([StorageError(Reason.READ_FAILED, "503"), None, OSError("reset"), str(left), str(left)])

    def committed(output: str, token: str) -> str | None:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(remote_run.jobs, "find", lambda name: EndlessJob())
    monkeypatch.setattr(remote_run, "_committed", committed)
    assert attach(str(left), cancel=False) == str(left)


def test_no_other_run_starts_while_nothing_is_known_of_the_job(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = EndlessJob()
    monkeypatch.setattr(remote_run.jobs, "find", lambda name: job)
    assert is_at_work(str(left), "token")
    job.cancel()
    assert not is_at_work(str(left), "token")
    assert not is_at_work(str(left), "another")
    monkeypatch.setattr(remote_run.jobs, "find", lambda name: None)
    with pytest.raises(
        UserError, match=r"cannot be reached and may still write to .*: if it has ended, delete .*/token/job\.json"
    ):
        is_at_work(str(left), "token")


def run_of(info: model_dir.ModelInfo, output: str) -> Run:
    return Run(
        output=output, token="token", command=(), inputs=("in",), model_dir="model", model=info,
        output_format="parquet", rows_per_part=1000, top_k=2, limits=Limits(), max_failure_rate=0.05,
        price_per_hour=None, scratch=None, previous=(), shard=None, overwrite=False, started=now(),
    )  # fmt: skip


def dataflow_job(model: Path, options: list[str], flags: list[str]) -> Any:
    """Build the job for Dataflow, including its pickled functions, with Beam's dry run, which needs no network."""
    import apache_beam as beam

    from tests.pipeline.test_classify_flags import parsed

    info = model_dir.read(model).info
    run = run_of(info, "gs://b/run")
    pipeline = beam.Pipeline(options=runners.beam_options([*DATAFLOW, "--dry_run=True", *options]))
    classification(pipeline, parsed("--input", "gs://b/in", "--model-dir", "gs://b/model", *flags), run)
    return pipeline.run().job


def hints_of_steps(job: Any) -> dict[str, dict[str, bytes]]:
    """Return the resource hints of each step that runs code, keyed by the names in their URNs."""
    components = job.proto_pipeline.components
    return {
        step.unique_name: {
            urn.split(":")[2]: value
            for urn, value in components.environments[step.environment_id].resource_hints.items()
        }
        for step in components.transforms.values()
        if step.environment_id and not step.subtransforms
    }


def test_the_job_for_dataflow(tiny_model: Path, repository: Path) -> None:
    job = dataflow_job(tiny_model, ["--sdk_container_image=shop/image", f"--setup_file={repository / 'setup.py'}"], [])
    components = job.proto_pipeline.components
    names = {step.unique_name.split("/")[0] for step in components.transforms.values()}
    assert {"Manifest", "Group by location", "Read", "Decode", "Classify", "Parts", "Commit"} <= names
    (environment,) = components.environments.values()
    assert b"shop/image" in environment.payload
    sent = {artifact.role_payload.decode() for artifact in environment.dependencies}
    assert any("workflow.tar.gz" in name for name in sent)
    assert not any(hints_of_steps(job).values())


def test_only_inference_runs_on_machines_with_an_accelerator(tiny_model: Path) -> None:
    job = dataflow_job(tiny_model, ["--sdk_container_image=shop/image"], ["--accelerator", "nvidia-l4",
                                                                         "--inference-ram", "16GB"])  # fmt: skip
    asked = {"accelerator": b"type:nvidia-l4;count:1;install-nvidia-driver", "min_ram_bytes": b"16000000000"}
    found = hints_of_steps(job)
    inference = {name for name in found if name.startswith("Classify/Inference/")}
    assert {name.split("/")[2] for name in inference} >= {"Run", "Remember", "Measure"}
    assert all(found[name] == asked for name in inference)
    assert {name for name, hints in found.items() if hints} == inference
    # A shuffle must precede inference, because a fused stage runs on one kind of machine.
    assert any(name.startswith("Classify/Move/") for name in found)


def test_reading_is_measured_although_inference_runs_elsewhere(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    """The run is on one machine, with a runner that starts a worker for each environment of the graph."""
    import apache_beam as beam

    from tests.pipeline.test_classify_flags import parsed

    config = parsed("--model-dir", tiny_model, "--input", drawn, "--accelerator", "nvidia-l4", "--engine", "tensorflow")
    info = model_dir.read(tiny_model).info
    run = run_of(info, f"{tmp_path}/run")
    with held(run.output, run.token, "now"), beam.Pipeline(runner="FnApiRunner") as pipeline:
        classification(pipeline, config, run)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["counts"]["predictions"] == 36
    assert record["timings"]["worker_seconds"]["reading"] > 0
    assert record["timings"]["worker_seconds"]["inference"] > 0
