"""Runs on real photos; the runs are killed at random moments and resumed by the same command.

``make test`` tries a few moments with a small network. ``make soak`` tries many moments with a real network, on the
local disk and on object stores.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from catalogue import storage
from pipeline.metering.counts import counted
from tests.conftest import ObjectStore, write_photos
from tests.processes import children, open_files, resident_bytes, wait_for_end

PHOTOS = 3000


class Uninterrupted(NamedTuple):
    """An uninterrupted run: command line without the path of ``--output``, rows, and duration in seconds."""

    words: list[str]
    rows: list[str]
    seconds: float


def rows_of(output: str) -> list[str]:
    """Return the rows of a run directory, including its dead letters."""
    folders = (f"{output}/predictions", f"{output}/dead_letters")
    files = [file.location for folder in folders for file in storage.list_files(folder)]
    return sorted(line for file in files for line in storage.read_text(file).splitlines())


def uninterrupted(model: Path, clothing: Path, folder: Path, engine: str) -> Uninterrupted:
    photos = sorted(str(file) for file in (clothing / "train").rglob("*.jpg"))[: PHOTOS - 10]
    broken = folder / "broken.jpg"
    broken.write_bytes(Path(photos[0]).read_bytes()[:1000])
    (folder / "list.txt").write_text(
        "\n".join([*photos, *[str(broken)] * 5, *[f"{folder}/none-{n}" for n in range(5)]])
    )
    words = ["-m", "pipeline", "classify", "--input", folder / "list.txt", "--model-dir", model,
             "--direct_num_workers=2", "--engine", engine, "--precision", "float32", "--output"]  # fmt: skip
    command = [sys.executable, *map(str, words)]
    start = time.monotonic()
    subprocess.run([*command, str(folder / "run")], check=True, capture_output=True)
    return Uninterrupted(command, rows_of(str(folder / "run")), time.monotonic() - start)


@pytest.fixture(scope="module")
def small(tiny_model: Path, clothing: Path, tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return uninterrupted(tiny_model, clothing, tmp_path_factory.mktemp("uninterrupted"), "openvino")


@pytest.fixture(scope="module")
def real(clothing_model: Path, clothing: Path, tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return uninterrupted(clothing_model, clothing, tmp_path_factory.mktemp("uninterrupted"), "tensorflow")


class Killer:
    """A run that is started, killed and resumed."""

    def __init__(self, whole: Uninterrupted, output: str, temporary: Path, environment: dict[str, str]) -> None:
        temporary.mkdir()
        self._words, self._output, self._temporary = [*whole.words, output], output, temporary
        self._environment = {**os.environ, **environment, "TMPDIR": str(temporary)}

    def kill(self, moment: Callable[[], bool], chance: random.Random) -> str | None:
        """Start the run, and kill the command or one of its workers as soon as `moment` returns true.

        A run that loses a worker continues by itself.

        Returns:
            Name of the killed process; None if the run had already ended.
        """
        process = subprocess.Popen(self._words, stderr=subprocess.DEVNULL, env=self._environment)
        while not moment():
            if process.poll() is not None:
                return None
            time.sleep(0.005)
        workers = children(process.pid)
        victim = chance.choice([process.pid, *workers])
        with contextlib.suppress(ProcessLookupError):  # the process has just ended
            os.kill(victim, signal.SIGKILL)
        if victim == process.pid:
            process.wait()
        else:
            assert process.wait(timeout=300) == 0
        wait_for_end(workers)
        return "worker" if victim in workers else "command"

    def finish(self, expected: list[str]) -> dict[str, Any]:
        """Run the same command to its end unless the run is complete, then check the results.

        Returns:
            The contents of ``run.json``.
        """
        if not storage.is_file(f"{self._output}/_SUCCESS"):
            done = subprocess.run(self._words, capture_output=True, text=True, env=self._environment, check=False)
            assert done.returncode == 0, done.stderr
            assert os.listdir(self._temporary) == []
            assert not storage.exists(f"{self._output}/_lock")
        assert rows_of(self._output) == expected
        record: dict[str, Any] = json.loads(storage.read_text(f"{self._output}/run.json"))
        counts = record["counts"]
        assert counts["inputs"] == counts["predictions"] + sum(counts["dead_letters"].values()) == PHOTOS
        names = {file.location.removeprefix(f"{self._output}/") for file in storage.list_files(self._output)}
        assert {name.partition("/")[0] for name in names} - {"_lock"} == {
            "predictions", "dead_letters", "journal", "class_stats.json", "run.json", "report.html", "metrics.prom",
            "_SUCCESS",
        }  # fmt: skip
        return record


@pytest.mark.parametrize(("images", "seed"), [(1, 1), (1500, 2), (2500, 5)])
def test_killed_at_any_moment_the_same_command_gives_the_rows_of_an_uninterrupted_run(
    images: int, seed: int, small: Uninterrupted, tmp_path: Path
) -> None:
    chance, run = random.Random(seed), tmp_path / "run"

    def moment() -> bool:
        if (run / "predictions").exists():  # the commit has begun
            return True
        return sum(counted(str(folder))["classified"] for folder in (run / "_temporary").glob("*")) >= images

    killer = Killer(small, str(run), tmp_path / "temporary", {})
    assert killer.kill(moment, chance)
    killer.finish(small.rows)


@pytest.mark.soak
@pytest.mark.parametrize("where", ["local", "s3", "gs"])
def test_killed_at_twenty_random_moments(
    where: str, real: Uninterrupted, tmp_path: Path, open_object_store: Callable[[str], ObjectStore]
) -> None:
    root, environment = (str(tmp_path), {}) if where == "local" else open_object_store(where)
    chance, reused = random.Random(where), list[int]()
    whole = real.seconds
    for number in range(20):
        killed = None
        while killed is None:
            shutil.rmtree(tmp_path / f"temporary-{number}", ignore_errors=True)
            storage.remove(f"{root}/run-{number}")
            killer = Killer(real, f"{root}/run-{number}", tmp_path / f"temporary-{number}", environment)
            seconds, start = chance.uniform(0, 0.95) * whole, time.monotonic()
            killed = killer.kill(lambda end=start + seconds: time.monotonic() >= end, chance)  # type: ignore[misc]
            if killed is None:  # the run was faster than before
                whole = time.monotonic() - start
        counts = killer.finish(real.rows)["counts"]
        reused.append(sum(counts["reused"].values()))
        print(f"{where}: {killed} killed after {seconds:.1f} s of {whole:.1f} s, {reused[-1]:,} images reused")
    assert max(reused) >= 1000


@pytest.mark.soak
def test_two_hundred_thousand_images_take_no_more_memory_nor_files_than_fifty_thousand(
    tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    """Five percent of the images are broken, in ways that exercise different paths of a decoder."""
    photos = write_photos(drawn, tmp_path / "photos", 200_000)
    for number in range(0, 200_000, 20):
        photo = photos / f"{number:05}.jpg"
        data = photo.read_bytes()
        broken = (b"", data[: len(data) // 2], b"GIF89a" + data, data[:200] + bytes(100) + data[300:])
        photo.write_bytes(broken[number // 20 % len(broken)])
    words = ["-m", "pipeline", "classify", "--input", photos, "--model-dir", tiny_model, "--output", tmp_path / "run",
             "--direct_num_workers=2", "--engine", "openvino", "--max-failure-rate", 0.06]  # fmt: skip
    process = subprocess.Popen([sys.executable, *map(str, words)], stderr=subprocess.DEVNULL)
    samples: list[tuple[int, int, int]] = []
    while process.poll() is None:
        found = [Path(folder) for folder in (tmp_path / "run/_temporary").glob("*")]
        counts = counted(str(found[0])) if found else {}
        done = sum(counts.get(name, 0) for name in ("classified", "reused", "failed"))
        workers = children(process.pid)
        with contextlib.suppress(OSError):  # a worker has just ended
            if len(workers) == 2 and done:
                samples.append((done, sum(map(resident_bytes, workers)), sum(map(open_files, workers))))
        time.sleep(0.5)
    assert process.returncode == 0
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert counts["inputs"] == counts["predictions"] + sum(counts["dead_letters"].values()) == 200_000
    early = [sample for sample in samples if 45_000 <= sample[0] <= 55_000]
    late = [sample for sample in samples if sample[0] >= 190_000]
    memory, files = ([statistics.median(sample[kind] for sample in own) for own in (early, late)] for kind in (1, 2))
    print(f"memory {memory[0] / 2**20:,.0f} and {memory[1] / 2**20:,.0f} MiB, open files {files[0]:g} and {files[1]:g}")
    assert memory[1] <= 1.05 * memory[0]
    assert files[1] <= 1.05 * files[0]
