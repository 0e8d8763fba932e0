"""A single worker process, connected to a job that never sends anything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def worker(repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has connected to its job."""
    with socket.create_server(("127.0.0.1", 0)) as job:
        environment = {
            "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "127.0.0.1:{job.getsockname()[1]}"',
            "PIPELINE_OPTIONS": "{}",
            "WORKER_ID": "one",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.runner.worker"],
            env={**os.environ, **environment},
            cwd=repository,
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        job.settimeout(60)
        connection, _ = job.accept()
        with connection:
            yield process
        process.kill()
        process.wait()


def test_a_worker_ends_with_the_process_that_started_it(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGINT)  # a terminal sends SIGINT to all processes, but only the command reacts
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(1)
    assert worker.stdin
    worker.stdin.close()
    assert worker.wait(5) == 1
