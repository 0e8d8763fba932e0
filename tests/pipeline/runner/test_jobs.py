"""Jobs of Beam's local job server in its own process. It has the API of the job servers for Flink and Spark."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics.execution import MetricKey, MetricResult
from apache_beam.metrics.metricbase import MetricName

from catalogue.cli.errors import CommandFailed
from pipeline.errors import JobFailedError, JobGoesOnError
from pipeline.runner import jobs, runners
from pipeline.runner.jobs import Job, JobName
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


def test_a_job_whose_server_has_gone_may_go_on(server: Any) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([300]) | beam.Map(time.sleep)

    with jobs.submitted(build, options_of(server)) as job:
        assert not job.has_ended()
        server.kill()
        server.wait()
        with pytest.raises(JobGoesOnError, match="can no longer be followed"):
            job.wait()
        assert not job.has_ended()
        with pytest.raises(CommandFailed, match="cannot be canceled"):
            job.cancel()
    assert jobs.find(job.name) is None


@pytest.mark.parametrize(
    ("job", "shown"), [("BeamApp-root-1_0aa-4", "BeamApp-root-1"), ("shop_nightly_0aa-4", "shop_nightly")]
)
def test_the_name_that_an_engine_shows(job: str, shown: str) -> None:
    assert JobName("PortableRunner", job).engine_name == shown


def test_dataflow_tells_what_a_job_has_counted_so_far() -> None:
    """Dataflow returns a counter for each step while the job runs; other engines return counters only after the job."""
    job = Job(_Counted(), JobName("DataflowRunner", "2026-11-30_1"))
    assert job.counters("catalogue_classifier") == {"classified": 5, "failed": 1}
    assert Job(_Counted(), JobName("FlinkRunner", "a_b")).counters("catalogue_classifier") is None
    assert Job(object(), JobName("DataflowRunner", "2026-11-30_1")).counters("catalogue_classifier") is None


class _Counted:
    """A Beam result with the metrics of three steps."""

    def metrics(self) -> _Counted:
        return self

    def query(self, asked: Any) -> dict[str, list[MetricResult]]:
        counted = [("a", "classified", 2, 2), ("b", "classified", None, 3), ("c", "failed", 1, 1)]
        namespace = next(iter(asked.namespaces))
        return {
            "counters": [
                MetricResult(MetricKey(step, MetricName(namespace, name)), committed, attempted)
                for step, name, committed, attempted in counted
            ]
        }
