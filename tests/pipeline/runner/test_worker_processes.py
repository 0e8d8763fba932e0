"""Runs of which a process is killed: the whole of it, one worker, the command alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.metering.watch import counted
from pipeline.runner import runners, worker_processes

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tiny_model: Path, drawn: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a run with two workers that takes a while; gives it when it classifies, or as soon as they are there."""
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    for number in range(20_000):
        os.link(drawn / f"hat/{number % 12:02}.jpg", photos / f"{number}.jpg")
    started: list[subprocess.Popen[str]] = []

    def begin(*, classifies: bool = True) -> subprocess.Popen[str]:
        words = ["classify", "--input", photos, "--model-dir", tiny_model, "--output", run, "--direct_num_workers=2"]
        words += ["--engine", "openvino", "--log-file", tmp_path / "log"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *map(str, words)],
            stderr=subprocess.PIPE,
            text=True,
            # What a shell starts with & ignores it, and so would this process.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        started.append(process)
        for _ in range(1200):
            if classifies and any(counted(str(folder))["classified"] for folder in run.glob("_temporary/*")):
                return process
            if not classifies and len(children(process)) == 2:
                return process
            assert process.poll() is None
            time.sleep(0.05)
        pytest.fail("it did not come so far")

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def children(process: subprocess.Popen[str]) -> list[int]:
    """The worker processes of a command."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def wait_for_end(pids: list[int]) -> None:
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return
        time.sleep(0.05)
    pytest.fail("a worker is still there")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "a worker process was killed, as the system does where memory runs out"),
        (signal.SIGSEGV, "a worker process ended before its work did, by signal 11"),
    ],
)
def test_a_run_that_loses_a_worker_fails_at_once(
    number: signal.Signals, words: str, start: Start, tmp_path: Path
) -> None:
    process = start()
    workers = children(process)
    assert len(workers) == 2
    os.kill(workers[1], number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert f"error: the run failed: WorkerLostError: {words}" in errors.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    wait_for_end(workers)


def test_a_run_that_loses_a_worker_before_it_has_worked_fails_at_once(start: Start, tmp_path: Path) -> None:
    process = start(classifies=False)
    workers = children(process)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "error: the run failed: WorkerLostError: a worker process was killed" in errors.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    wait_for_end(workers)


def test_workers_end_with_their_command(start: Start) -> None:
    process = start()
    workers = children(process)
    process.kill()
    process.wait()
    wait_for_end(workers)


def test_an_interrupted_run_ends_at_once_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    process = start()
    workers = children(process)
    for pid in (process.pid, *workers):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith("error: interrupted")
    assert not (tmp_path / "run").exists()
    wait_for_end(workers)


def test_a_runner_without_a_lost_worker_fails_by_what_it_fails_by() -> None:
    import apache_beam as beam

    pipeline = beam.Pipeline(runner=worker_processes.ProcessRunner())
    _ = pipeline | beam.Create([0]) | beam.Map(lambda number: 1 // number)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        pipeline.run()


def test_a_worker_that_fails_is_heard_of_while_those_before_it_are_at_work() -> None:
    import apache_beam as beam

    def work(number: int) -> None:
        if number:
            raise ValueError(f"number {number}")
        time.sleep(60)

    flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    options = runners.beam_options(flags)
    pipeline = beam.Pipeline(runner=runners.runner_for(options), options=options)
    numbers = pipeline | beam.Create([0, 1], reshuffle=False) | beam.Map(lambda number: (number, number))
    _ = numbers | beam.GroupByKey() | beam.MapTuple(lambda number, _: work(number))
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="ValueError: number 1"):
        pipeline.run()
    assert time.monotonic() - start < 30
