"""Errors in the flags of distributed runners, each detected before anything is started."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from apache_beam.runners.runner import create_runner

from catalogue.cli.errors import UserError
from pipeline.runner import remote_options, runners
from tests.pipeline.test_classify_flags import parsed
from tests.servers import free_port

PORTABLE = ["--runner", "PortableRunner"]
DATAFLOW = ["--runner", "DataflowRunner"]
CLOUD = ["--project=shop", "--region=europe-west4", "--temp_location=gs://shop/tmp"]


def check(*flags: str) -> None:
    options = runners.beam_options(flags)
    config = parsed("--input", "gs://b/in", "--model-dir", "gs://b/model", "--output", "gs://b/run")
    remote_options.check(options, create_runner(options.view_as(runners.StandardOptions).runner), config)


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of a gRPC server."""
    server = grpc.server(thread_pool=concurrent.futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (PORTABLE, "--runner PortableRunner requires --job_endpoint"),
        ([*PORTABLE, "--job_endpoint=shop", "--environment_type=DOCKER"], "--job_endpoint shop: give HOST:PORT"),
        (["--runner=FlinkRunner", "--flink_master=flink:8081"], "--environment_type is missing"),
        (["--runner=SparkRunner", "--spark_master_url=spark://spark:7077"], "--environment_type is missing"),
        (
            ["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=PROCES"],
            "--environment_type PROCES is unknown; did you mean PROCESS?",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=yarn"],
            "--environment_type yarn is unknown: give one of DOCKER, PROCESS, EXTERNAL, LOOPBACK",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=PROCESS"],
            "Option process_command is required for environment type PROCESS",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=PROCESS",
             "--environment_config=/opt/apache/beam/boot"],
            "give JSON with the command that starts a worker",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=EXTERNAL"],
            "external_service_address is required",
        ),
        (
            ["--runner=FlinkRunner", "--output_executable_path=job.jar"],
            "--environment_type is missing",
        ),
        (
            ["--runner=FlinkRunner", "--output_executable_path=job.jar", "--environment_type=LOOPBACK"],
            "the workers are threads of this command, which ends before the engine runs the job",
        ),
        (
            ["--runner=FlinkRunner", "--output_executable_path=none/job.jar", "--environment_type=DOCKER"],
            "--output_executable_path none/job.jar is in a folder that does not exist",
        ),
        (
            ["--runner=FlinkRunner", "--output_executable_path=job.jar", "--job_endpoint=flink:8099"],
            "--output_executable_path cannot be combined with --job_endpoint",
        ),
        (["--runner=FlinkRunner", "--template_location=gs://shop/job"], "--template_location requires"),
        ([*DATAFLOW, *CLOUD, "--output_executable_path=job.jar"], "--output_executable_path requires"),
        (
            ["--runner=PrismRunner", "--output_executable_path=job.jar", "--environment_type=DOCKER"],
            "--output_executable_path requires --runner FlinkRunner or SparkRunner",
        ),
        (DATAFLOW, "--runner DataflowRunner requires --project and --region and --temp_location"),
        ([*DATAFLOW, "--project=shop", "--region=europe-west4"], "requires --temp_location"),
        ([*DATAFLOW, *CLOUD[:2], "--temp_location=/tmp"], "temp_location"),
    ],
)  # fmt: skip
def test_missing_and_misspelled_flags_are_errors(flags: list[str], message: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        check(*flags)
    assert message in str(error.value)
    assert time.monotonic() - start < 5


def test_the_program_of_the_workers_is_looked_for_where_the_engine_is_this_machine() -> None:
    flags = ["--runner=FlinkRunner", "--environment_type=PROCESS", '--environment_config={"command": "/none/boot"}']
    with pytest.raises(UserError, match="--environment_config: the program /none/boot was not found"):
        check(*flags)


def test_flags_that_are_right(endpoint: str) -> None:
    check(*DATAFLOW, *CLOUD)
    check("--runner=FlinkRunner")
    check("--runner=SparkRunner")
    check("--runner=PrismRunner")
    check(*PORTABLE, f"--job_endpoint={endpoint}", "--environment_type=loopback")
    check(
        *PORTABLE, f"--job_endpoint={endpoint}", "--environment_type=PROCESS", '--environment_config={"command": "b"}'
    )
    check(*PORTABLE, f"--job_endpoint={endpoint}", "--environment_type=DOCKER", "--environment_config=shop/image")


def test_an_endpoint_that_does_not_answer_is_named_at_once() -> None:
    port = free_port()
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"--job_endpoint 127\.0\.0\.1:{port} does not answer: Connection refused"):
        check(*PORTABLE, f"--job_endpoint=127.0.0.1:{port}", "--environment_type=LOOPBACK")
    assert time.monotonic() - start < 5


def test_an_endpoint_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_options, "_CONNECT_SECONDS", 1.0)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match="is not a job server"):
            check(*PORTABLE, f"--job_endpoint=127.0.0.1:{port}", "--environment_type=LOOPBACK")


@pytest.fixture
def master() -> Iterator[str]:
    """The address of a JobManager with two TaskManagers of four slots each."""

    class Overview(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"taskmanagers": 2, "slots-total": 8}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Overview) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_loopback_is_for_this_machine_and_one_task_manager(master: str) -> None:
    with pytest.raises(UserError, match="Flink has 2 TaskManagers, whose workers would mix up their work"):
        check("--runner=FlinkRunner", f"--flink_master={master}", "--environment_type=LOOPBACK")


def test_idle_slots_of_flink_are_warned_of(master: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--runner=FlinkRunner", f"--flink_master={master}", "--environment_type=DOCKER"]
    flags += ["--environment_config=shop/image"]
    check(*flags)
    assert capsys.readouterr().err == ("warning: Flink has 8 slots but may use only one: give --parallelism 8\n")
    check(*flags, "--parallelism=4")
    assert capsys.readouterr().err == ""


def test_code_that_nothing_sends_is_warned_of(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    process = ["--environment_type=PROCESS", '--environment_config={"command": "boot"}']
    check(*PORTABLE, f"--job_endpoint={endpoint}", *process)
    assert "warning: this package is not sent to the workers of PortableRunner" in capsys.readouterr().err
    check(*PORTABLE, f"--job_endpoint={endpoint}", *process, "--setup_file=./setup.py")
    check(*PORTABLE, f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK")
    check(*DATAFLOW, *CLOUD, "--sdk_container_image=shop/image")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--runner=FlinkRunner"], True),
        (["--runner=FlinkRunner", "--flink_master=flink:8081"], False),
        (["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=LOOPBACK"], True),
        (["--runner=SparkRunner", "--spark_master_url=local[4]"], True),
        (["--runner=SparkRunner", "--spark_master_url=spark://spark:7077"], True),
        (["--runner=spark", "--spark_master_url=spark://spark:7077", "--spark_submit_uber_jar"], False),
        (["--runner=flink", "--flink_master=flink:8081"], False),
        (["--runner=dataflow"], False),
        (["--runner=PrismRunner"], True),
        (["--runner=BundleBasedDirectRunner"], True),
        ([*PORTABLE, "--job_endpoint=flink:8099"], False),
        (DATAFLOW, False),
    ],
)
def test_which_jobs_end_with_the_command(flags: list[str], expected: bool) -> None:
    assert remote_options.ends_with_command(runners.beam_options(flags)) == expected


def test_without_java_there_is_no_job_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/none")
    for runner in ("FlinkRunner", "SparkRunner"):
        with pytest.raises(UserError, match=f"--runner {runner}: its job server needs java, which was not found"):
            check(f"--runner={runner}")


def test_flags_that_only_a_job_server_knows_pass(tmp_path: Path) -> None:
    flink = ["--runner=FlinkRunner"]
    known = ["--max_bundle_size=100", "--execution_mode_for_batch=BATCH", "--operator_chaining=true"]
    runners.refuse_unknown_beam_flags([*flink, *known], [])
    for wrong, meant in (("--parralelism=2", "--parallelism"), ("--environment_typ=X", "--environment_type")):
        with pytest.raises(UserError, match=f"did you mean {meant}"):
            runners.refuse_unknown_beam_flags([*flink, *known, wrong], [])
    with pytest.raises(UserError, match="did you mean --input"):
        runners.refuse_unknown_beam_flags([*flink, "--inptu=x"], ["--input"])
    with pytest.raises(UserError, match="unknown argument --max_bundle_size"):
        runners.refuse_unknown_beam_flags(known, [])
