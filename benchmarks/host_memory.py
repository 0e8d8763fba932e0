"""How much memory a machine needs for a run: all processes of ``classify`` together, with 1, 2 and 4 workers.

For each engine and precision that this machine has. What processes share, such as libraries, is divided among them
(Linux calls that PSS), so that the sum is what the machine must have. Real photos are needed:
``CATALOGUE_CLASSIFIER_SHARED`` names their folder, see CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import catalogue, finish, scratch, trained
from catalogue.model_dir import bfloat16
from tests.processes import children

PHOTOS, WORKERS = 1_500, (1, 2, 4)
ENGINES = [("tensorflow", "float32"), ("openvino", "float32"), ("tensorflow", "bfloat16"), ("openvino", "bfloat16")]


def main() -> None:
    """Measures all of them."""
    with scratch() as folder:
        model = trained(folder, on_few=True)
        photos = catalogue(folder, PHOTOS)
        runs = {
            f"{engine} {precision}": {
                str(workers): peak(folder, model, photos, engine, precision, workers) for workers in WORKERS
            }
            for engine, precision in ENGINES
            if precision == "float32" or bfloat16.is_native()
        }
        weights = sum(file.stat().st_size for file in (model / "variables").iterdir())
    finish({"runs": runs, "weights_bytes": weights})


def peak(folder: Path, model: Path, photos: Path, engine: str, precision: str, workers: int) -> dict[str, Any]:
    """One run: the most bytes that all processes had together, and the command and its workers at that moment."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    flags = ["--engine", engine, "--precision", precision, f"--direct_num_workers={workers}"]
    words = ["classify", "--input", photos, "--model-dir", model, "--output", run, *flags]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    most, command, each = 0, 0, list[int]()
    while process.poll() is None:
        own, theirs = bytes_of(process.pid), [bytes_of(pid) for pid in children(process.pid)]
        if own + sum(theirs) > most:
            most, command, each = own + sum(theirs), own, sorted(theirs)
        time.sleep(0.2)
    assert process.returncode == 0
    return {"host_bytes": most, "command_bytes": command, "worker_bytes": each}


def bytes_of(pid: int) -> int:
    """The memory of a process, and its part of what it shares with others; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
