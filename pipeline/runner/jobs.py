"""Jobs of runners of many machines: submitted, followed to their end, found again, cancelled.

Such a job may go on when the process that started it has ended. What it is found by is kept in the run directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.runner import PipelineState, create_runner

from catalogue.cli.errors import CommandFailed
from pipeline.errors import JobFailedError, JobGoesOnError
from pipeline.runner import flink_rest
from pipeline.runner.remote_options import DATAFLOW, EMBEDDED_FLINK, is_embedded

_ANSWER_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class JobName:
    """What a job is found again by.

    Attributes:
        runner: that it was started with.
        id: that the engine has given it.
        endpoint: of the job server that knows it; None if that has ended with the command, or there is none.
        project, region: of Google Cloud, for Dataflow.
        flink: ``HOST:PORT`` or URL of the JobManager; None if it is not known, or another engine.
    """

    runner: str
    id: str
    endpoint: str | None = None
    project: str | None = None
    region: str | None = None
    flink: str | None = None

    @property
    def engine_name(self) -> str:
        """By which the engine shows it: job servers add something to it for their own ids."""
        return self.id.partition("_")[0]

    def to_json(self) -> str:
        """For a file."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> JobName:
        """The inverse of `to_json`. Raises ValueError or TypeError."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        return f"job {self.id} of {self.runner}"


class Job:
    """A job that has been submitted.

    Args:
        result: what Beam knows of it.
        name: what it is found by.
    """

    def __init__(self, result: Any, name: JobName) -> None:
        self._result, self.name = result, name

    def wait(self) -> None:
        """Waits for its end.

        Raises:
            JobFailedError: it failed, or was cancelled.
            JobGoesOnError: whoever knows it does not answer any more.
        """
        try:
            state = self._result.wait_until_finish()
        except Exception as error:
            if self.has_ended():
                raise JobFailedError(str(error)) from error
            raise JobGoesOnError(f"{self.name} cannot be followed any more: {_why(error)}") from error
        if state == PipelineState.CANCELLED:
            raise JobFailedError(f"{self.name} was cancelled")

    def has_ended(self) -> bool:
        """Whether it certainly does not run any more."""
        ended = flink_rest.has_ended(self.name.flink, self.name.engine_name) if self.name.flink else None
        if ended is not None:
            return ended
        try:
            return PipelineState.is_terminal(self._result.state)
        except Exception:  # whatever the clients of engines raise when nobody answers
            return False

    def cancel(self) -> None:
        """Ends it. Raises CommandFailed if that fails.

        A job server of Flink only lets go of the job (Beam 2.62): Flink itself must be told.
        """
        try:
            if self.name.flink:
                flink_rest.cancel(self.name.flink, self.name.engine_name)
            self._result.cancel()
        except Exception as error:
            raise CommandFailed(f"{self.name} cannot be cancelled: {_why(error)}") from error

    def counters(self, namespace: str) -> dict[str, int] | None:
        """The counters of a namespace while it runs; None where the engine shows them at its end only."""
        if self.name.runner != DATAFLOW:
            return None
        try:
            found = self._result.metrics().query(beam.metrics.MetricsFilter().with_namespace(namespace))
        except Exception:  # progress is not worth a run
            return None
        return {one.key.metric.name: int(one.committed or one.attempted or 0) for one in found["counters"]}


@contextlib.contextmanager
def submitted(build: Callable[[beam.Pipeline], Any], options: PipelineOptions) -> Iterator[Job]:
    """Builds a pipeline and submits it. What is started here for it, such as a job server, ends with the context.

    Args:
        build: adds the steps.
        options: Beam's.
    """
    standard, portable = options.view_as(StandardOptions), options.view_as(PortableOptions)
    cloud, name = options.view_as(GoogleCloudOptions), str(standard.runner)
    endpoint = None if is_embedded(options) else portable.job_endpoint
    with _job_server(create_runner(name), options) as runner:
        pipeline = beam.Pipeline(runner=runner, options=options)
        build(pipeline)
        result = pipeline.run()
        is_dataflow = name == DATAFLOW
        yield Job(
            result,
            JobName(
                name,
                str(getattr(result, "job_id", lambda: getattr(result, "_job_id", ""))()),
                endpoint,
                cloud.project if is_dataflow else None,
                cloud.region if is_dataflow else None,
                _flink(options),
            ),
        )


def _flink(options: PipelineOptions) -> str | None:
    master = options.view_as(FlinkRunnerOptions).flink_master
    return None if master in EMBEDDED_FLINK else master


def find(name: JobName) -> Job | None:
    """A job that another process has submitted; None if nobody can be asked for it any more."""
    if name.runner == DATAFLOW:
        return Job(_dataflow_result(name), name)
    if name.endpoint is None:
        return None
    service = beam_job_api_pb2_grpc.JobServiceStub(grpc.insecure_channel(name.endpoint))
    try:
        service.GetState(beam_job_api_pb2.GetJobStateRequest(job_id=name.id), timeout=_ANSWER_SECONDS)
    except grpc.RpcError:
        return None
    states = service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=name.id))
    messages = service.GetMessageStream(beam_job_api_pb2.JobMessagesRequest(job_id=name.id))
    return Job(portable_runner.PipelineResult(service, name.id, messages, states), name)


def _dataflow_result(name: JobName) -> Any:
    from apache_beam.runners.dataflow.dataflow_runner import DataflowPipelineResult, DataflowRunner
    from apache_beam.runners.dataflow.internal import apiclient

    options = PipelineOptions(["--runner", DATAFLOW, f"--project={name.project}", f"--region={name.region}"])
    runner = DataflowRunner()
    runner.dataflow_client = apiclient.DataflowApplicationClient(options)
    return DataflowPipelineResult(runner.dataflow_client.get_job(name.id), runner, options)


@contextlib.contextmanager
def _job_server(runner: Any, options: PipelineOptions) -> Iterator[Any]:
    """A runner whose job server, if it starts one, ends with the context: Beam's own ends too late, or never.

    It would be stopped when Python ends, after its folder of temporary files, and live on if this process is killed.
    """
    started: list[Any] = []
    default = getattr(runner, "default_job_server", None)
    if default:

        def noted(options: PipelineOptions) -> Any:
            started.append(default(options))
            return started[-1]

        runner.default_job_server = noted
    with tempfile.TemporaryDirectory() as folder:
        java = options.view_as(JobServerOptions)
        if java.job_server_java_launcher == "java":
            java.job_server_java_launcher = _launcher(Path(folder) / "java")
        try:
            yield runner
        finally:
            for server in started:
                with contextlib.suppress(FileNotFoundError):
                    server.stop()


def _launcher(path: Path) -> str:
    """A program that runs Java so that Linux ends it with the process that started it."""
    path.write_text(
        f"#!{sys.executable}\n"
        "import contextlib, ctypes, os, signal, sys\n"
        "with contextlib.suppress(Exception):\n"
        "    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG\n"
        "os.execvp('java', ['java', *sys.argv[1:]])\n"
    )
    path.chmod(0o700)
    return os.fspath(path)


def _why(error: Exception) -> str:
    """What an error says, in a line."""
    if isinstance(error, grpc.RpcError):
        return str(getattr(error, "details", lambda: "")() or error)
    return str(error) or type(error).__name__
