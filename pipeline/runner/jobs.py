"""Jobs on remote runners: submit, follow, find and cancel them.

A remote job may outlive the process that submitted it. Its name is stored in the run directory.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.runner import PipelineState, create_runner

from catalogue.cli.errors import CommandFailed, Interrupted
from pipeline.errors import JobFailedError, JobGoesOnError
from pipeline.runner import flink_rest
from pipeline.runner.job_server import own_interrupts, own_job_server
from pipeline.runner.remote_options import DATAFLOW, EMBEDDED_FLINK, ends_with_command, is_embedded

_ANSWER_SECONDS, _LOOK_SECONDS = 30.0, 5.0


@dataclasses.dataclass(frozen=True)
class JobName:
    """Name of a job, with which another process can find it.

    Attributes:
        runner: name of the runner that started the job.
        id: job ID assigned by the engine.
        endpoint: address of the job server; None if there is no job server or it ends with the command.
        project, region: Google Cloud project and region, for Dataflow.
        flink: ``HOST:PORT`` or URL of the JobManager; None if unknown or for other engines.
    """

    runner: str
    id: str
    endpoint: str | None = None
    project: str | None = None
    region: str | None = None
    flink: str | None = None

    @property
    def engine_name(self) -> str:
        """Name of the job in the engine: the ID without the random suffix that the job server adds."""
        return self.id.rpartition("_")[0]

    def to_json(self) -> str:
        """Return the name as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> JobName:
        """Parse the output of `to_json`. Raises ValueError or TypeError."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        return f"job {self.id} of {self.runner}"


class Job:
    """A submitted job.

    Args:
        result: Beam's pipeline result.
        name: name of the job.
    """

    def __init__(self, result: Any, name: JobName) -> None:
        self._result, self.name = result, name

    def wait(self) -> None:
        """Wait until the job ends.

        Raises:
            JobFailedError: the job failed or was canceled.
            JobGoesOnError: the job server or the engine no longer answers.
        """
        try:
            state = self._result.wait_until_finish()
        except Exception as error:
            if self.has_ended():
                raise JobFailedError(str(error)) from error
            raise JobGoesOnError(f"{self.name} can no longer be followed: {_why(error)}") from error
        if state == PipelineState.CANCELLED:
            raise JobFailedError(f"{self.name} was canceled")

    def has_ended(self) -> bool:
        """Return whether the job has certainly ended."""
        state = flink_rest.state(self.name.flink, self.name.engine_name) if self.name.flink else None
        if state in flink_rest.ENDED:
            return True
        try:
            return PipelineState.is_terminal(self._result.state)
        except Exception:  # the engines' clients raise various errors if the engine does not answer
            return False

    def cancel(self) -> None:
        """Cancel the job. Raises CommandFailed if that fails.

        Flink's job server only detaches from the job (Beam 2.62), so the job is canceled in Flink itself.
        """
        try:
            if self.name.flink:
                flink_rest.cancel(self.name.flink, self.name.engine_name)
            self._result.cancel()
        except Exception as error:
            raise CommandFailed(f"{self.name} cannot be canceled: {_why(error)}") from error

    def counters(self, namespace: str) -> dict[str, int] | None:
        """Return the counters of a namespace while the job runs; None if the engine does not report them meanwhile."""
        if self.name.runner != DATAFLOW:
            return None
        try:
            found = self._result.metrics().query(beam.metrics.MetricsFilter().with_namespace(namespace))
        except Exception:  # missing progress must not fail the run
            return None
        total = collections.Counter[str]()
        for one in found["counters"]:  # one for each step
            total[one.key.metric.name] += int(one.committed or one.attempted or 0)
        return dict(total)


@contextlib.contextmanager
def submitted(build: Callable[[beam.Pipeline], Any], options: PipelineOptions) -> Iterator[Job]:
    """Build a pipeline, submit it and yield its job. A job server that Beam starts for it ends with the context.

    Args:
        build: function that adds the steps to a pipeline.
        options: Beam's options.

    Raises:
        JobGoesOnError: the command was interrupted during the submission.
    """
    name, cloud = str(options.view_as(StandardOptions).runner), options.view_as(GoogleCloudOptions)
    is_dataflow, ends_here = name == DATAFLOW, ends_with_command(options)  # Beam changes the options during a run
    known = JobName(
        name,
        "",
        None if is_embedded(options) else options.view_as(PortableOptions).job_endpoint,
        cloud.project if is_dataflow else None,
        cloud.region if is_dataflow else None,
        _flink(options),
    )
    with own_job_server(create_runner(name), options) as runner:
        pipeline = beam.Pipeline(runner=runner, options=options)
        build(pipeline)
        try:
            with own_interrupts():
                result: Any = pipeline.run()
        except Interrupted as error:
            if ends_here:
                raise
            message = "interrupted while the job was being submitted: check whether the engine has started it"
            raise JobGoesOnError(message, error.signal) from error
        has_dataflow_job = is_dataflow and result.has_job  # false if it has written a template
        own_id = result.job_id() if has_dataflow_job else getattr(result, "_job_id", "")
        yield Job(result, dataclasses.replace(known, id=str(own_id)))


def _flink(options: PipelineOptions) -> str | None:
    master = options.view_as(FlinkRunnerOptions).flink_master
    return None if master in EMBEDDED_FLINK else master


def find(name: JobName) -> Job | None:
    """Return a job that another process submitted; None if neither its job server nor its engine can be reached.

    Raises:
        CommandFailed: Dataflow does not answer.
    """
    if name.runner == DATAFLOW:
        try:
            return Job(_dataflow_result(name), name)
        except Exception as error:  # Google's client raises various errors
            raise CommandFailed(f"{name}: {_why(error)}") from error
    service = beam_job_api_pb2_grpc.JobServiceStub(grpc.insecure_channel(name.endpoint)) if name.endpoint else None
    try:
        if service:
            service.GetState(beam_job_api_pb2.GetJobStateRequest(job_id=name.id), timeout=_ANSWER_SECONDS)
    except grpc.RpcError:
        service = None
    if service:
        states = service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=name.id))
        messages = service.GetMessageStream(beam_job_api_pb2.JobMessagesRequest(job_id=name.id))
        return Job(portable_runner.PipelineResult(service, name.id, messages, states), name)
    if name.flink and flink_rest.state(name.flink, name.engine_name):
        return Job(_FlinkResult(name.flink, name.engine_name), name)
    return None


class _FlinkResult:
    """Pipeline result of a job whose job server has ended, from Flink's REST API."""

    def __init__(self, master: str, name: str) -> None:
        self._master, self._name = master, name

    @property
    def state(self) -> str:
        """State of the job, one of Beam's `PipelineState`."""
        found = flink_rest.state(self._master, self._name)
        states = {"FINISHED": PipelineState.DONE, "FAILED": PipelineState.FAILED, "CANCELED": PipelineState.CANCELLED}
        return states.get(found or "", PipelineState.UNKNOWN)

    def wait_until_finish(self) -> str:
        """Wait until the job ends. Raises RuntimeError if it failed."""
        while not PipelineState.is_terminal(self.state):
            time.sleep(_LOOK_SECONDS)
        if self.state == PipelineState.FAILED:
            raise RuntimeError(f"the job failed; its log is at {self._master}")
        return self.state

    def cancel(self) -> None:
        """Do nothing: `Job.cancel` has already canceled the job in Flink."""


def _dataflow_result(name: JobName) -> Any:
    from apache_beam.runners.dataflow.dataflow_runner import DataflowPipelineResult, DataflowRunner
    from apache_beam.runners.dataflow.internal import apiclient

    options = PipelineOptions(["--runner", DATAFLOW, f"--project={name.project}", f"--region={name.region}"])
    runner = DataflowRunner()
    runner.dataflow_client = apiclient.DataflowApplicationClient(options)
    return DataflowPipelineResult(runner.dataflow_client.get_job(name.id), runner, options)


def _why(error: Exception) -> str:
    """Return the message of an error."""
    if isinstance(error, grpc.RpcError):
        return str(getattr(error, "details", lambda: "")() or error)
    return str(error) or type(error).__name__
