"""Measure the overhead of ``classify``: its images per second, relative to a ceiling measured in the same run.

Each round measures reading and decoding alone, with one process per core; inference alone, with one process per core;
and the whole command, from the files to ``_SUCCESS``. The ceiling is the speed of decoding and inference in sequence on
the same cores: 1 / (1 / decoding + 1 / inference) images per second. Startup, which is the time of the command for a
single photo, is excluded. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import catalogue, classified, finish, scratch, trained
from catalogue import model_dir
from catalogue.images.reader import read_image
from pipeline.inference import engines
from pipeline.machine import cores

ROUNDS, PHOTOS, ALONE, BATCH = 3, 10_000, 3_000, 16
ENGINES = ("openvino", "tensorflow")


class Alone:
    """State of a process that measures decoding alone and inference alone.

    Args:
        name: name of the engine.
        model: model directory.
        files: photos; the first of them are decoded as inputs of inference.
    """

    def __init__(self, name: str, model: Path, files: Sequence[Path]) -> None:
        directory = model_dir.read(model)
        self.engine = engines.choose(directory, engines.Threads(1, 1), engine=name)
        self.spec = directory.info.image
        self.images = [read_image(file.read_bytes(), self.spec) for file in files[: 16 * BATCH]]


_alone: Alone


def prepare(*arguments: Any) -> None:
    """Initialize the state of this process."""
    global _alone
    _alone = Alone(*arguments)


def precision() -> str:
    """Return the precision of the engine."""
    return _alone.engine.choice.precision


def decode(files: Sequence[Path]) -> int:
    """Read and decode photos. Return the number of photos."""
    for file in files:
        read_image(file.read_bytes(), _alone.spec)
    return len(files)


def infer(files: Sequence[Path]) -> int:
    """Classify images in batches, about as many as there are files. Return the number of images."""
    images = _alone.images
    for number in range(len(files) // BATCH):
        first = number * BATCH % len(images)
        _alone.engine(np.stack(images[first : first + BATCH]))
    return len(files) // BATCH * BATCH


def rate(
    work: Callable[[Sequence[Path]], int], files: Sequence[Path], processes: Sequence[ProcessPoolExecutor]
) -> float:
    """Run `work` in all processes at once, each with a part of the files. Return the total images per second."""
    start = time.perf_counter()
    parts = [files[number :: len(processes)] for number in range(len(processes))]
    done = [process.submit(work, part) for process, part in zip(processes, parts, strict=True)]
    return sum(part.result() for part in done) / (time.perf_counter() - start)


def measured(name: str, model: Path, photos: Path, folder: Path) -> dict[str, Any]:
    """Return the speeds of one engine as medians of several rounds, and the command's share of its ceiling."""
    files = sorted(photos.rglob("*.jpg"))[:ALONE]
    found: dict[str, list[float]] = {"decoding": [], "inference": [], "classify": [], "of_ceiling": []}
    with contextlib.ExitStack() as stack:
        context, arguments = multiprocessing.get_context("spawn"), (name, model, files)
        processes = [
            stack.enter_context(ProcessPoolExecutor(1, context, initializer=prepare, initargs=arguments))
            for _ in range(cores())
        ]
        rate(infer, files[: 4 * BATCH], processes)
        for _ in range(ROUNDS):
            decoding, inferring = rate(decode, files, processes), rate(infer, files, processes)
            one, _ = classified(files[0], model, folder, "--engine", name)
            all_, record = classified(photos, model, folder, "--engine", name)
            whole = (record["counts"]["predictions"] - 1) / (all_ - one)
            ceiling = 1 / (1 / decoding + 1 / inferring)
            for key, value in zip(found, (decoding, inferring, whole, whole / ceiling), strict=True):
                found[key].append(value)
            print(name, {key: values[-1] for key, values in found.items()}, file=sys.stderr)
        own = processes[0].submit(precision).result()
    medians = {key: statistics.median(values) for key, values in found.items()}
    return medians | {"rounds_of_ceiling": found["of_ceiling"], "precision": own}


def main() -> None:
    """Run the benchmark and print one JSON line."""
    with scratch() as folder:
        model, photos = trained(folder), catalogue(folder, PHOTOS)
        result = {name: measured(name, model, photos, folder) for name in ENGINES}
    finish(result, {f"{name}: 0.95 of the ceiling": own["of_ceiling"] >= 0.95 for name, own in result.items()})


if __name__ == "__main__":
    main()
