"""Runs whose command or workers are killed or interrupted, and the runs that continue them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.journal.chunk_files import read_results
from pipeline.metering.counts import counted
from pipeline.runner import runners, worker_processes
from tests.conftest import write_photos
from tests.processes import children, wait_for_end

Start = Callable[..., subprocess.Popen[str]]


PHOTOS = 10_000


@pytest.fixture
def words(tiny_model: Path, drawn: Path, tmp_path: Path) -> list[str]:
    """A command that takes a few seconds, with two workers."""
    photos = write_photos(drawn, tmp_path / "photos", PHOTOS)
    words = ["classify", "--input", photos, "--model-dir", tiny_model, "--output", tmp_path / "run",
             "--direct_num_workers=2", "--engine", "openvino"]  # fmt: skip
    return [sys.executable, "-m", "pipeline", *map(str, words)]


@pytest.fixture
def start(words: list[str], tmp_path: Path) -> Iterator[Start]:
    """Function that starts the command and returns its process after `chunks` chunks or, if 0, once it has workers."""
    started: list[subprocess.Popen[str]] = []

    def begin(*flags: str, chunks: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*words, *flags, "--log-file", tmp_path / "log"],
            stderr=subprocess.PIPE,
            text=True,
            # Shells start background jobs with SIGINT ignored, and this process would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        started.append(process)
        for _ in range(6000):
            if chunks and len(list(tmp_path.glob("run/_temporary/*/chunk-*"))) >= chunks:
                return process
            if not chunks and len(children(process.pid)) == 2:
                return process
            assert process.poll() is None
            time.sleep(0.01)
        pytest.fail("the run did not get that far")

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def test_a_run_that_loses_a_worker_fails_at_once(start: Start, tmp_path: Path) -> None:
    process = start(chunks=1)
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGSEGV)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    message = "a worker process ended unexpectedly by signal 11; finished work is kept; to continue, run:"
    assert f"error: the run failed: WorkerLostError: {message}" in errors.splitlines()[-1]
    wait_for_end(workers)


def test_a_run_whose_worker_is_killed_for_its_memory_continues_with_fewer(start: Start, tmp_path: Path) -> None:
    process = start(chunks=2)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "probably because memory ran out: retrying with --direct_num_workers 1" in errors
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["counts"]["predictions"] == PHOTOS
    assert record["counts"]["reused"]["unread"] >= 2000
    assert record["workers"] == 1
    assert names(tmp_path / "run")[0] == "_SUCCESS"


def test_a_run_that_loses_a_worker_before_it_has_worked_leaves_nothing(start: Start, tmp_path: Path) -> None:
    process = start("--retries", "0", chunks=0)
    workers = children(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "error: the run failed: a worker process was killed" in errors.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    wait_for_end(workers)


def test_workers_end_with_their_command(start: Start) -> None:
    process = start(chunks=0)
    workers = children(process.pid)
    process.kill()
    process.wait()
    wait_for_end(workers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupted_run_ends_at_once_and_names_the_command_that_continues(
    number: signal.Signals, start: Start, tmp_path: Path
) -> None:
    process = start(chunks=0)
    workers = children(process.pid)
    classified = wait_for_images(tmp_path, 200)
    for pid in (*workers, process.pid):  # as a terminal and systemd do
        os.kill(pid, number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert len(kept(tmp_path)) >= classified  # including images of chunks that were not full
    command = " ".join(map(str, process.args[1:]))
    assert errors.splitlines()[-1].endswith(f"interrupted; finished work is kept; to continue, run: python {command}")
    assert {file.name.split("-")[0] for file in tmp_path.glob("run/_temporary/*/*")} == {"started", "chunk"}
    wait_for_end(workers)


@pytest.mark.parametrize("last", ["predictions", "run.json", "_SUCCESS", "_lock gone"])
def test_an_interrupt_in_the_last_moment_agrees_with_what_is_on_the_disk(
    last: str, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    words = ["classify", "--input", drawn, "--model-dir", tiny_model, "--output", tmp_path / "run",
             "--direct_num_workers=2", "--engine", "openvino"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    run = tmp_path / "run"
    while process.poll() is None:
        if (run / last).exists() or (
            last == "_lock gone" and (run / "_SUCCESS").exists() and not (run / "_lock").exists()
        ):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (0, 130), errors
    assert (process.returncode == 0) == (run / "_SUCCESS").exists(), errors
    assert not (run / "_lock").exists()


def test_an_interrupted_run_without_finished_work_leaves_nothing(start: Start, tmp_path: Path) -> None:
    process = start(chunks=0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith("error: interrupted; no work was finished, so nothing is kept")
    assert not (tmp_path / "run").exists()


def test_a_killed_run_is_continued_by_the_same_command(start: Start, words: list[str], tmp_path: Path) -> None:
    """The command is killed, then a worker of the next attempt. Images in saved chunks are not classified again."""
    process = start(chunks=0)
    workers = children(process.pid)
    classified = wait_for_images(tmp_path, 200)
    process.kill()
    process.communicate()
    wait_for_end(workers)
    known = len(kept(tmp_path))
    assert known >= classified  # the workers noticed, and saved their results
    process = start("--retries", "0", chunks=6)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    process.communicate(timeout=10)
    assert len(kept(tmp_path)) >= known + 1000
    known = len(kept(tmp_path))
    subprocess.run(words, check=True, capture_output=True)
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert (counts["inputs"], counts["predictions"]) == (PHOTOS, PHOTOS)
    assert (counts["classified"], counts["reused"]["unread"]) == (PHOTOS - known, known)
    alone = [word if word != str(tmp_path / "run") else str(tmp_path / "alone") for word in words]
    subprocess.run(alone, check=True, capture_output=True)
    assert rows(tmp_path / "run") == rows(tmp_path / "alone")
    assert names(tmp_path / "run") == names(tmp_path / "alone")


def wait_for_images(folder: Path, images: int) -> int:
    """Wait until the workers have counted at least `images` classified images, and return the count."""
    for _ in range(6000):
        found = sum(counted(str(attempt))["classified"] for attempt in folder.glob("run/_temporary/*"))
        if found >= images:
            return found
        time.sleep(0.01)
    pytest.fail("the run did not get that far")


def kept(folder: Path) -> set[str]:
    """Return the locations of the images in the chunks that the attempts at a run have left."""
    chunks = folder.glob("run/_temporary/*/chunk-*")
    return {result.location for chunk in chunks for result in read_results(str(chunk))[1]}


def names(run: Path) -> list[str]:
    return sorted(str(file.relative_to(run)) for file in run.rglob("*"))


def rows(run: Path) -> list[str]:
    return sorted(line for part in run.glob("predictions/*") for line in part.read_text().splitlines())


def test_without_a_lost_worker_the_error_of_the_pipeline_is_raised() -> None:
    import apache_beam as beam

    pipeline = beam.Pipeline(runner=worker_processes.ProcessRunner())
    _ = pipeline | beam.Create([0]) | beam.Map(lambda number: 1 // number)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        pipeline.run()


def test_the_error_of_a_worker_is_raised_while_other_workers_are_busy() -> None:
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
