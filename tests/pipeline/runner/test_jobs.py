"""Jobs of a job server in a process of its own: Beam's local one, which speaks as those of Flink and Spark do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.runner import create_runner

from catalogue.cli.errors import CommandFailed
from pipeline.errors import JobFailedError, JobGoesOnError
from pipeline.runner import jobs, runners
from pipeline.runner.jobs import JobName
from tests.processes import children, wait_for_end
from tests.servers import free_port


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    port = free_port()
    words = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", f"--port={port}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.port = port  # type: ignore[attr-defined]
    yield process
    process.kill()
    process.wait()


def options_of(server: Any, *flags: str) -> Any:
    endpoint = f"--job_endpoint=127.0.0.1:{server.port}"
    return runners.beam_options(["--runner=PortableRunner", endpoint, "--environment_type=LOOPBACK", *flags])


def test_a_job_is_followed_to_its_end_and_found_again(server: Any) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([1, 2, 3]) | beam.Map(lambda number: number + 1)

    with jobs.submitted(build, options_of(server)) as job:
        job.wait()
        assert job.has_ended()
        assert job.name.endpoint == f"127.0.0.1:{server.port}"
    assert JobName.from_json(job.name.to_json()) == job.name
    found = jobs.find(job.name)
    assert found
    assert found.has_ended()
    found.wait()


def test_a_job_that_fails_says_why(server: Any) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([0]) | beam.Map(lambda number: 1 // number)

    with jobs.submitted(build, options_of(server)) as job, pytest.raises(JobFailedError, match="ZeroDivisionError"):
        job.wait()
    assert job.has_ended()


@pytest.mark.filterwarnings("ignore:Exception in thread wait_until_finish_read")  # Beam's own thread
def test_a_job_whose_server_has_gone_may_go_on(server: Any) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([300]) | beam.Map(time.sleep)

    with jobs.submitted(build, options_of(server)) as job:
        assert not job.has_ended()
        server.kill()
        server.wait()
        with pytest.raises(JobGoesOnError, match="cannot be followed any more"):
            job.wait()
        assert not job.has_ended()
        with pytest.raises(CommandFailed, match="cannot be cancelled"):
            job.cancel()
    assert jobs.find(job.name) is None


@pytest.mark.parametrize(
    ("job", "shown"), [("BeamApp-root-1_0aa-4", "BeamApp-root-1"), ("shop_nightly_0aa-4", "shop_nightly")]
)
def test_the_name_that_an_engine_shows(job: str, shown: str) -> None:
    assert JobName("PortableRunner", job).engine_name == shown


def test_the_job_server_of_a_command_ends_with_it(tmp_path: Path) -> None:
    """Also if it is killed: Java is started by a program that asks Linux for that. Here Java is another program."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 300\n")
    java.chmod(0o755)
    body = f"""
import subprocess, sys, time
from pathlib import Path
from pipeline.runner.jobs import _launcher
folder = Path({str(tmp_path)!r}) / "with a space"
folder.mkdir()
subprocess.Popen([_launcher(folder), "-jar", "x"])
print("ready", flush=True)
time.sleep(300)
"""
    command = subprocess.Popen(
        [sys.executable, "-c", body],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
    )
    assert command.stdout
    command.stdout.readline()
    while not (tmp_path / "pid").exists():
        assert command.poll() is None
    own = children(command.pid)
    command.kill()
    command.communicate()
    wait_for_end(own)


def test_a_job_server_that_was_started_here_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    class Server:
        def stop(self) -> None:
            stopped.append(self)

    runner = create_runner("FlinkRunner")
    monkeypatch.setattr(runner, "default_job_server", lambda options: Server())
    with jobs._job_server(runner, runners.beam_options(["--runner=FlinkRunner"])):
        server = runner.default_job_server(None)
    assert stopped == [server]
