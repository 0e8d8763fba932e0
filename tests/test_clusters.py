"""Runs on Flink and Spark clusters of several processes, some of which are killed.

``make soak-flink`` and ``make soak-spark`` run these tests.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import engines
from tests.processes import wait_for_end
from tests.servers import free_port

pytestmark = pytest.mark.engines

PHOTOS = 3068


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.FlinkCluster]:
    with engines.flink_cluster(tmp_path_factory.mktemp("flink") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def words(clothing_model: Path, clothing: Path) -> list[str]:
    """The command line without ``--output`` and the flags of the runner. Inference takes about twenty seconds."""
    flags = ["--input", clothing / "train", "--model-dir", clothing_model, "--engine", "tensorflow",
             "--precision", "float32"]  # fmt: skip
    return [sys.executable, "-m", "pipeline", "classify", *map(str, flags)]


@pytest.fixture(scope="module")
def local(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float]]:
    """Label and score of each photo, from the local runner."""
    run = tmp_path_factory.mktemp("local") / "run"
    subprocess.run([*words, "--output", str(run)], check=True, capture_output=True)
    return labels(run)


def labels(run: Path) -> dict[str, tuple[str, float]]:
    rows = [json.loads(line) for part in (run / "predictions").iterdir() for line in part.read_text().splitlines()]
    assert len(rows) == PHOTOS
    return {row["uri"]: (row["label"], row["score"]) for row in rows}


def assert_equal(run: Path, local: dict[str, tuple[str, float]]) -> dict[str, Any]:
    """Check that a run has the rows of the local run, and return the contents of its ``run.json``."""
    found = labels(run)
    assert {uri: label for uri, (label, _) in found.items()} == {uri: label for uri, (label, _) in local.items()}
    assert [score for _, (_, score) in sorted(found.items())] == pytest.approx(
        [score for _, (_, score) in sorted(local.items())], abs=1e-5
    )
    assert (run / "_SUCCESS").exists()
    assert not (run / "_temporary").exists()
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    assert record["counts"]["inputs"] == record["counts"]["predictions"] == PHOTOS
    return record


def assert_progress_counts_nothing_twice(said: str) -> None:
    shown = [tuple(map(int, found)) for found in re.findall(r"(\d+) of (\d+) images", said.replace(",", ""))]
    assert shown
    assert all(done <= total == PHOTOS for done, total in shown), shown


class Work:
    """Progress of the workers of a run, read from the files that they write during the run."""

    def __init__(self, run: Path) -> None:
        self._run, self._files = run, dict[str, dict[str, int]]()

    def look(self) -> None:
        """Read all progress files that exist now."""
        for file in self._run.glob("_temporary/*/progress-*.json"):
            with contextlib.suppress(OSError, ValueError):
                self._files[file.name] = json.loads(file.read_text())

    @property
    def classified(self) -> list[int]:
        """Number of images classified by each process, including those of failed bundles."""
        self.look()
        return [counts.get("classified", 0) for counts in self._files.values()]


@contextlib.contextmanager
def started(words: list[str], run: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*words, "--output", str(run), *flags, "--log-file", str(run.parent / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the run did not get that far"
        time.sleep(0.2)


def workers() -> list[int]:
    """Return the PIDs of Beam's workers on this machine, and of the programs that start them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            first, *more = (folder / "cmdline").read_bytes().split(b"\0")
            starts = any(word.endswith((b"catalogue-classifier-boot", b"engines/boot")) for word in (first, *more[:1]))
            if starts or any(b"sdk_worker_main" in word for word in more):
                found.append(int(folder.name))
    return found


def test_two_task_managers_share_the_work(
    flink: engines.FlinkCluster, words: list[str], local: dict[str, tuple[str, float]], tmp_path: Path
) -> None:
    work = Work(tmp_path / "run")
    with started(words, tmp_path / "run", *flink.flags) as process:
        wait_for(lambda: work.look() or process.poll() is not None, 300)
        assert process.returncode == 0, process.stderr and process.stderr.read()
    record = assert_equal(tmp_path / "run", local)
    assert record["workers"] == 2
    assert min(sorted(work.classified)[-2:]) >= 0.3 * PHOTOS


def test_a_task_manager_that_is_killed_costs_little(
    flink: engines.FlinkCluster, words: list[str], local: dict[str, tuple[str, float]], tmp_path: Path
) -> None:
    work = Work(tmp_path / "run")
    with started(words, tmp_path / "run", *flink.flags) as process:
        wait_for(lambda: sum(work.classified) >= 0.6 * PHOTOS)
        flink.kill("task manager 1")
        flink.start_task_manager(2)
        wait_for(lambda: work.look() or process.poll() is not None, 300)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert_equal(tmp_path / "run", local)
    assert_progress_counts_nothing_twice(errors)
    repeated = sum(work.classified) - PHOTOS
    print(f"{repeated:,} of {PHOTOS:,} images were classified twice")
    assert repeated <= 0.1 * PHOTOS


def test_the_job_of_a_launcher_that_is_killed_completes_the_run_and_is_found_again(
    flink: engines.FlinkCluster, words: list[str], local: dict[str, tuple[str, float]], tmp_path: Path
) -> None:
    run, work = tmp_path / "run", Work(tmp_path / "run")
    with started(words, run, *flink.flags) as process:
        wait_for(lambda: sum(work.classified) >= 200)
        process.kill()
        process.wait()
        again = subprocess.run([*words, "--output", str(run)], capture_output=True, text=True, check=False)
        assert again.returncode == 2, again.stderr
        assert f"is still running elsewhere: follow it with --attach {run}" in again.stderr
        attached = subprocess.run([*words[:4], "--attach", str(run)], capture_output=True, text=True, check=False)
        assert attached.returncode == 0, attached.stderr
        assert "following job " in attached.stderr
        assert f"{PHOTOS:,} predictions" in attached.stdout
    assert_equal(run, local)
    assert not (run / "_lock").exists()


def test_an_interrupted_command_says_how_to_follow_and_to_end_its_job(
    flink: engines.FlinkCluster, words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with started(words, run, *flink.flags) as process:
        wait_for(lambda: list(run.glob("_temporary/*/chunk-*")) != [])
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130
        how = f"python -m pipeline classify --attach {run}"
        advice = f"to follow the job: {how}; to cancel the job: {how} --cancel"
        assert errors.splitlines()[-1].endswith(f"is still running; {advice}")
    canceled = subprocess.run(
        [*words[:4], "--attach", str(run), "--cancel"], capture_output=True, text=True, check=False
    )
    assert canceled.returncode == 1
    assert "was canceled; finished work is kept" in canceled.stderr
    wait_for(lambda: all(job["state"] == "CANCELED" or job["state"] == "FINISHED" for job in flink.jobs()))
    left = {file.name.split("-")[0] for file in run.glob("_temporary/*/*")}
    # A worker in the middle of a bundle may write its counts once more.
    assert left - {"progress"} == {"started", "chunk"}
    assert not (run / "_lock").exists()


def test_a_program_that_is_missing_on_the_task_managers_is_reported(
    flink: engines.FlinkCluster, words: list[str], tmp_path: Path
) -> None:
    flags = [*flink.flags, '--environment_config={"command": "/none/boot"}']  # the last flag wins
    done = subprocess.run(
        [*words, "--output", str(tmp_path / "run"), *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert (
        "the program that starts them is missing on the engine's machines or is not executable; for PROCESS install"
        in done.stderr.splitlines()[-1]
    )
    assert not (tmp_path / "run/_lock").exists()


def test_a_job_that_is_to_end_with_its_command_does(
    flink: engines.FlinkCluster, words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with started(words, run, *flink.flags, "--cancel-on-interrupt") as process:
        wait_for(lambda: list(run.glob("_temporary/*/chunk-*")) != [])
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143
        assert "interrupted; finished work is kept; to continue, run:" in errors.splitlines()[-1]
    assert {job["state"] for job in flink.jobs()} <= {"CANCELED", "FINISHED", "FAILED"}
    assert not (run / "_lock").exists()


def test_a_job_manager_that_is_killed_leaves_what_was_finished(
    words: list[str], local: dict[str, tuple[str, float]], tmp_path: Path
) -> None:
    """Without high availability, a new JobManager does not know the job. The same command resumes the run."""
    run, work = tmp_path / "run", Work(tmp_path / "run")
    with engines.flink_cluster(tmp_path / "cluster") as flink:
        with started(words, run, *flink.flags) as process:
            wait_for(lambda: sum(work.classified) >= 0.5 * PHOTOS)
            flink.kill("job manager")
            _, errors = process.communicate(timeout=180)
            assert process.returncode == 1, errors
        flink.start_job_manager()
        flink.wait_for_task_managers(2)
        done = subprocess.run([*words, "--output", str(run), *flink.flags], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    record = assert_equal(run, local)
    assert sum(record["counts"]["reused"].values()) >= 0.3 * PHOTOS


def test_the_deployment_of_a_run_on_kubernetes(
    words: list[str], local: dict[str, tuple[str, float]], repository: Path, tmp_path: Path
) -> None:
    """Without Kubernetes, the test uses the deployment's Flink settings, its job in a jar, and a pool of workers."""
    spec = yaml.safe_load((repository / "deploy/flink/run.yaml").read_text())["spec"]
    (job,) = [own for own in spec["jobManager"]["podTemplate"]["spec"]["initContainers"] if own["name"] == "job"]
    jar, run, pool_port = tmp_path / "job.jar", tmp_path / "run", free_port()
    own = ("--output_executable_path", "--environment_config", "--flink_job_server_jar", "--parallelism")
    flags = [flag for flag in job["args"] if "_" in flag and not flag.startswith(own)]
    flags += [f"--output_executable_path={jar}", f"--environment_config=localhost:{pool_port}", "--parallelism=2"]
    flags += [word for word in engines.embedded("flink", tmp_path) if word.startswith("--flink_job_server_jar")]
    subprocess.run([*words, "--output", str(run), "--runner=FlinkRunner", *flags], check=True, capture_output=True)
    settings = spec["flinkConfiguration"] | {
        "taskmanager.memory.process.size": spec["taskManager"]["resource"]["memory"],
        "jobmanager.memory.process.size": spec["jobManager"]["resource"]["memory"],
    }
    with (
        engines.worker_pool(pool_port, tmp_path),
        engines.flink_cluster(tmp_path / "cluster", 1, settings, jar) as flink,
    ):
        flink.run_jar(jar)
        started_anew = Path(tmp_path / "pool.log").read_text().count("Starting worker")
    record = assert_equal(run, local)
    assert record["workers"] == int(spec["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]) == started_anew
    assert not (run / "_lock").exists()


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.SparkCluster]:
    with engines.spark_cluster(tmp_path_factory.mktemp("spark") / "cluster") as cluster:
        yield cluster


@pytest.mark.parametrize("is_killed", [False, True])
def test_two_executors_of_spark_share_the_work_and_one_may_be_killed(
    spark: engines.SparkCluster, words: list[str], local: dict[str, tuple[str, float]], tmp_path: Path, is_killed: bool
) -> None:
    work = Work(tmp_path / "run")
    with started(words, tmp_path / "run", *spark.flags) as process:
        if is_killed:
            wait_for(lambda: sum(work.classified) >= 0.6 * PHOTOS)
            spark.kill_executor(1)
        wait_for(lambda: work.look() or process.poll() is not None, 400)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert_progress_counts_nothing_twice(errors)
    record = assert_equal(tmp_path / "run", local)
    if is_killed:
        repeated = sum(work.classified) - PHOTOS
        print(f"{repeated:,} of {PHOTOS:,} images were classified twice")
        assert repeated <= 0.1 * PHOTOS
    else:
        assert record["workers"] == 2
        assert min(sorted(work.classified)[-2:]) >= 0.3 * PHOTOS


@contextlib.contextmanager
def at_work(words: list[str], run: Path, flags: list[str]) -> Iterator[list[int]]:
    """Start a run on a cluster; yield the PIDs of Beam's workers and of the programs that start them."""
    before = set(workers())
    with started(words, run, *flags):
        wait_for(lambda: len(set(workers()) - before) >= 4)
        yield list(set(workers()) - before)


def test_no_process_outlives_its_spark(words: list[str], tmp_path: Path) -> None:
    with engines.spark_cluster(tmp_path / "cluster") as spark, at_work(words, tmp_path / "run", spark.flags) as own:
        spark.stop()
        wait_for_end(own, 20)


@pytest.mark.parametrize("how", ["kill", "kill_group"])
def test_no_process_outlives_its_cluster(words: list[str], tmp_path: Path, how: str) -> None:
    with engines.flink_cluster(tmp_path / "cluster") as flink, at_work(words, tmp_path / "run", flink.flags) as own:
        for number in range(2):
            getattr(flink, how)(f"task manager {number}")
        wait_for_end(own, 20)
