"""Worker processes for Beam's local runner. The loss of a worker is noticed, and no worker outlives its command.

Threads contend for the GIL, so each worker is a process. FnApiRunner's own worker processes have three problems: it
waits forever for a worker that has died, for example because memory ran out; it notices a failed worker only after all
earlier workers in its list are done; and the workers do not receive Beam's flags, such as the S3 endpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.transforms.environments import Environment, python_sdk_capabilities
from google.protobuf import text_format

_URN = "catalogue_classifier:env:worker_process:v1"
_SECONDS_TO_LEAVE = 5.0
_SECONDS_TO_NOTICE = 0.2
_KILLED = (
    "a worker process was killed, probably because memory ran out: add memory or use fewer workers "
    "(--direct_num_workers)"
)


class WorkerLostError(Exception):
    """A worker process ended unexpectedly."""


class WorkerKilledError(WorkerLostError):
    """A worker process was killed, usually by the system because memory ran out."""


class ProcessRunner(FnApiRunner):
    """FnApiRunner with a process for each worker, for a single run."""

    def __init__(self) -> None:
        self._crew = _Crew()
        super().__init__(default_environment=_WorkerProcess(self._crew.name, python_sdk_capabilities()))

    def run_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        """Run a pipeline until it ends.

        Raises:
            WorkerLostError: a worker ended unexpectedly; the others have been stopped.
        """
        self._crew.options = options.get_all_options(drop_default=True)
        try:
            return super().run_pipeline(pipeline, options)
        except Exception as error:
            if self._crew.lost.is_set():
                kind = WorkerKilledError if self._crew.reason == _KILLED else WorkerLostError
                raise kind(self._crew.reason) from error
            raise


class _Crew:
    """The workers of a run.

    Attributes:
        name: unique name, with which each handler looks up its crew.
        options: Beam's options for the workers.
        lost: event that is set when a worker ends unexpectedly.
        reason: reason for the first loss; empty if no worker was lost.
    """

    def __init__(self) -> None:
        self.name, self.lost, self.reason = uuid.uuid4().hex, threading.Event(), ""
        self.options: dict[str, Any] = {}
        self._handlers: list[_Handler] = []
        self._lock, self._is_over = threading.Lock(), False
        _crews[self.name] = self

    def join(self, handler: _Handler) -> None:
        """Add a worker."""
        self._handlers.append(handler)

    def lose(self, reason: str) -> None:
        """Record that a worker ended unexpectedly, and fail all pending requests."""
        with self._lock:
            self.reason = self.reason or reason
        self.lost.set()
        self.fail(reason)

    def fail(self, reason: str) -> None:
        """Fail all pending requests of all workers."""
        for handler in self._handlers:
            handler.fail(reason)

    def end(self) -> None:
        """Stop all workers after a failure. Waits briefly, as the loss of a worker may not have been noticed yet."""
        if self._is_over:
            return
        self._is_over = True
        self.lost.wait(_SECONDS_TO_NOTICE)
        for handler in self._handlers:
            handler.tell_to_end()


_crews: weakref.WeakValueDictionary[str, _Crew] = weakref.WeakValueDictionary()


@Environment.register_urn(_URN, bytes)
class _WorkerProcess(Environment):
    def __init__(self, crew: str, *more: Any) -> None:
        super().__init__(*more)
        self._crew = crew

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        return _URN, self._crew.encode()

    @staticmethod
    def from_runner_api_parameter(
        payload: bytes,
        capabilities: Iterable[str],
        artifacts: Iterable[beam_runner_api_pb2.ArtifactInformation],
        resource_hints: Mapping[str, bytes],
        context: Any,
    ) -> _WorkerProcess:
        return _WorkerProcess(payload.decode(), capabilities, artifacts, resource_hints)


@WorkerHandler.register_environment(_URN, bytes)
class _Handler(GrpcWorkerHandler):
    """Starts and stops a worker process."""

    def __init__(self, payload: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._crew = _crews[payload.decode()]
        self._crew.join(self)
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._push = self.control_conn.push
        self.control_conn.push = self._push_and_watch  # type: ignore[method-assign, assignment]

    def _push_and_watch(self, request: Any) -> Any:
        """Send a request to the worker. If it is a bundle and the bundle fails, fail the requests of all workers."""
        future = self._push(request)
        if future and request.WhichOneof("request") == "process_bundle":
            threading.Thread(target=self._watch_bundle, args=(future,), name="watch bundle", daemon=True).start()
        return future

    def _watch_bundle(self, future: Any) -> None:
        error = future.get().error
        if error:
            self._crew.fail(error)

    def start_worker(self) -> None:
        environment = {
            **os.environ,
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(self.control_api_service_descriptor()),
            "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(self.logging_api_service_descriptor()),
            "PIPELINE_OPTIONS": json.dumps({"options": self._crew.options}, default=str),
            "WORKER_ID": self.worker_id,
        }
        words = [sys.executable, "-m", "pipeline.runner.worker"]
        self._process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE)
        threading.Thread(target=self._watch, args=(self._process,), name="watch worker", daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        reason = _explained(process.wait())
        while not self._closing.is_set():  # the runner may send more requests
            self._crew.lose(reason)
            self._closing.wait(_SECONDS_TO_NOTICE)

    def fail(self, reason: str) -> None:
        """Answer all pending requests with an error."""
        for future in list(self.control_conn._futures_by_id.values()):
            future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error=reason))

    def tell_to_end(self) -> None:
        """Make the process save its open chunks and exit, see `pipeline.runner.worker`."""
        self._closing.set()
        self.control_conn.push(BeamFnControlServicer._DONE_MARKER)  # otherwise the closed connection is an error
        if self._process and self._process.stdin:
            self._process.stdin.close()

    def close(self) -> None:
        """Stop the process. If requests are pending, the run has failed and all workers are stopped."""
        if self.control_conn._futures_by_id:
            self._crew.end()
        self._closing.set()
        super().close()

    def stop_worker(self) -> None:
        """Wait for the process to exit, and kill it after a timeout."""
        if self._process:
            with self._process as process:
                try:
                    process.wait(_SECONDS_TO_LEAVE)
                except subprocess.TimeoutExpired:
                    process.kill()


def _explained(code: int) -> str:
    if code == -signal.SIGKILL:
        return _KILLED
    return "a worker process ended unexpectedly " + (f"by signal {-code}" if code < 0 else f"with exit code {code}")
