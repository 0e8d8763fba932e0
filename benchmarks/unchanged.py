"""Measure a nightly run without changed images: ``classify --previous`` on 100,000 and 1,000,000 images.

The images are small files. The previous run classifies a few real photos; then its journal is replaced by a journal
with a result for each image. Measures the duration in seconds, and the peak memory of the largest process, which is a
worker. The peak depends on how the images are divided among the workers, so the smaller run is repeated. Requires real
photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.commands import VALIDATION, finish, scratch, timed, trained
from catalogue import storage
from catalogue.images.spec import DEFAULT_LIMITS, POLICY
from pipeline.journal.chunk_files import Settings
from pipeline.journal.part_files import write_part
from pipeline.records import Result

RUNS = {100_000: 3, 1_000_000: 1}
MOST_SECONDS, MOST_MEMORY = 60.0, 1.05
_PART = 100_000


def main() -> None:
    """Measure both catalogues and print one JSON line."""
    with scratch() as folder:
        model = trained(folder, on_few=True)
        runs = {count: [night(folder, model, count) for _ in range(times)] for count, times in RUNS.items()}
    few, many = runs.values()
    ratio = max(run["peak_bytes"] for run in many) / max(run["peak_bytes"] for run in few)
    finish(
        {"runs": runs, "memory_ratio": round(ratio, 3)},
        {
            f"at most {MOST_SECONDS:.0f} s": max(run["seconds"] for run in many) <= MOST_SECONDS,
            f"at most {MOST_MEMORY} times the memory": ratio <= MOST_MEMORY,
        },
    )


def night(folder: Path, model: Path, count: int) -> dict[str, Any]:
    """Run once on `count` images, which are all in the journal of the previous run. Return seconds and peak bytes."""
    images, previous, run = folder / f"images-{count}", folder / "previous", folder / "run"
    for path in (previous, run):
        shutil.rmtree(path, ignore_errors=True)
    flags = ("--model-dir", model, "--max-failure-rate", 1)
    first = ("classify", "--input", next(VALIDATION.iterdir()), "--output", previous, *flags)
    timed("pipeline", *first, keras_home=folder / "keras")
    shutil.rmtree(previous / "journal")
    settings = Settings(json.loads((model / "model.json").read_text())["id"], POLICY, 5, DEFAULT_LIMITS)
    known = results(images, count)
    for number in range(0, count, _PART):
        write_part(str(previous / f"journal/part-{number}.parquet"), itertools.islice(known, _PART), settings)
    start = time.monotonic()
    words = ["classify", "--input", images, "--output", run, "--previous", previous, *flags]
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    assert status == 0
    record = json.loads((run / "run.json").read_text())
    assert record["counts"]["reused"]["unread"] == count, record["counts"]
    shutil.rmtree(images)
    return {
        "seconds": round(seconds, 1),
        "peak_bytes": usage.ru_maxrss * 1024,  # of the largest process
    }


def results(images: Path, count: int) -> Iterator[Result]:
    """Write the images, and yield a result for each."""
    for number in range(count):
        path = images / f"{number // 1000:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        status = storage.stat(str(path))
        assert status
        top = tuple((f"label {rank}", 1 / (rank + 2)) for rank in range(5))
        yield Result(str(path), status.version, f"{number:064x}", top)


if __name__ == "__main__":
    main()
