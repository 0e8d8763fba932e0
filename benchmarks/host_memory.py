"""Measure the memory that a machine needs for a run: the peak of all ``classify`` processes together.

Some runs use a small network with 1, 2 and 4 workers, for each engine and each precision that this machine supports.
The others use a large network with 2 and 4 workers, which are either processes, each with its own copy of the weights,
or threads of one process, which share one copy.

Memory that processes share, such as libraries, is divided among them (PSS in Linux), so the sum over all processes is
the memory that the machine needs. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see
CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import VALIDATION, catalogue, finish, scratch, timed, trained
from catalogue.model_dir import bfloat16
from tests.processes import children

SMALL, LARGE = "MobileNetV2", "ResNet152V2"
PHOTOS = {SMALL: 1_500, LARGE: 300}
WORKERS = (1, 2, 4)
PRECISIONS = ("bfloat16", "float32") if bfloat16.is_native() else ("float32",)
_FEW = 4


def main() -> None:
    """Run the benchmark and print one JSON line."""
    runs = dict[str, Any]()
    with scratch() as folder:
        trained(folder, on_few=True).rename(folder / SMALL)
        words = ("--data", few_photos(folder), "--backbone", LARGE, "--weights", "none", "--epochs", 1)
        timed("trainer", "train", *words, "--model-dir", folder / LARGE, keras_home=folder / "keras")
        photos = {network: catalogue(folder, count) for network, count in PHOTOS.items()}
        for engine in ("openvino", "tensorflow"):
            for precision in PRECISIONS:
                choice = ("--engine", engine, "--precision", precision)
                for workers in WORKERS:
                    found = peak(folder, SMALL, photos[SMALL], *choice, f"--direct_num_workers={workers}")
                    runs[f"{SMALL}, {engine} {precision}, {workers}"] = found
        for mode in ("multi_processing", "multi_threading"):
            for workers in WORKERS[1:]:
                flags = ("--engine", "openvino", "--precision", "float32", f"--direct_running_mode={mode}")
                found = peak(folder, LARGE, photos[LARGE], *flags, f"--direct_num_workers={workers}")
                runs[f"{LARGE}, {mode}, {workers}"] = found
        weights = {network: (folder / network / "saved_model.pb").stat().st_size for network in (SMALL, LARGE)}
    finish({"runs": runs, "weights_bytes": weights})


def few_photos(folder: Path) -> Path:
    """Create a folder with a few photos of each class: enough, since the quality of the network does not matter."""
    for kind in VALIDATION.iterdir():
        for file in sorted(kind.glob("*.jpg"))[:_FEW]:
            place = folder / "few" / kind.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file)
    return folder / "few"


def peak(folder: Path, network: str, photos: Path, *flags: str) -> dict[str, Any]:
    """Run `classify` once. Return the peak memory of all its processes, the memory of each at that peak, and the speed.

    Memory is the proportional set size (PSS), in bytes.
    """
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    words = ["classify", "--input", photos, "--model-dir", folder / network, "--output", run, *flags]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    most: list[int] = []
    while process.poll() is None:
        found = [bytes_of(process.pid), *sorted(map(bytes_of, children(process.pid)))]
        most = max(most, found, key=sum)
        time.sleep(0.2)
    assert process.returncode == 0, f"{words} failed"
    record = json.loads((run / "run.json").read_text())
    speed = record["timings"]["images_per_second_from_then_on"]
    print(network, flags, sum(most), speed, file=sys.stderr)
    return {"host_bytes": sum(most), "process_bytes": most, "images_per_second": speed}


def bytes_of(pid: int) -> int:
    """Return the PSS of a process in bytes; 0 if the process has ended or its PSS cannot be read."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
