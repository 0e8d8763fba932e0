"""What ``classify`` loses around the network: images a second, against a ceiling measured in the same run.

In turns, several times: photos read and decoded by a thread for each core, and nothing else; batches classified by a
thread for each core, and nothing else; the whole command, from files to ``_SUCCESS``. One after the other on the same
cores, decoding and inference would reach 1 / (1 / decoding + 1 / inference) images a second. What a command takes for a
single photo is its start-up, and left out. Real photos are needed: ``CATALOGUE_CLASSIFIER_SHARED`` names their folder,
see CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import catalogue, classified, scratch, trained, versions
from pipeline import engines, inference
from trainer import model_dir
from trainer.preprocessing import read_image

ROUNDS, PHOTOS, ALONE, BATCH = 3, 10_000, 3_000, 16
ENGINES = ("openvino", "tensorflow")


def rate(work: Callable[[list[Any]], None], items: list[Any]) -> float:
    """Items a second that a thread for each core gets through."""
    parts = [items[core :: inference.cores()] for core in range(inference.cores())]
    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(items) / (time.perf_counter() - start)


def measured(name: str, model: Path, photos: Path, folder: Path) -> dict[str, Any]:
    """The speeds of one engine, medians of several rounds, and how near the command comes to its ceiling."""
    directory = model_dir.read(model)
    engine = engines.choose(directory, engines.Threads(inference.cores(), 1), engine=name)
    files = sorted(photos.rglob("*.jpg"))[:ALONE]
    images = [read_image(file.read_bytes(), directory.info.image) for file in files[: 16 * BATCH]]

    def decode(part: list[Path]) -> None:
        for file in part:
            read_image(file.read_bytes(), directory.info.image)

    def infer(part: list[int]) -> None:
        for number in part:
            first = number * BATCH % len(images)
            engine(np.stack(images[first : first + BATCH]))

    infer(list(range(4)))
    found: dict[str, list[float]] = {"decoding": [], "inference": [], "classify": [], "of_ceiling": []}
    for _ in range(ROUNDS):
        decoding, inferring = rate(decode, files), BATCH * rate(infer, list(range(ALONE // BATCH)))
        one, _ = classified(files[0], model, folder, "--engine", name)
        all_, record = classified(photos, model, folder, "--engine", name)
        whole = (record["counts"]["predictions"] - 1) / (all_ - one)
        ceiling = 1 / (1 / decoding + 1 / inferring)
        for key, value in zip(found, (decoding, inferring, whole, whole / ceiling), strict=True):
            found[key].append(round(value, 3 if key == "of_ceiling" else 1))
        print(name, {key: values[-1] for key, values in found.items()}, file=sys.stderr)
    medians = {key: statistics.median(values) for key, values in found.items()}
    return medians | {"rounds_of_ceiling": found["of_ceiling"], "precision": engine.choice.precision}


def main() -> None:
    """Measures and prints one JSON line."""
    with scratch() as folder:
        model, photos = trained(folder), catalogue(folder, PHOTOS)
        result = {name: measured(name, model, photos, folder) for name in ENGINES}
    print(json.dumps(result | {"cores": inference.cores(), "versions": versions()}))


if __name__ == "__main__":
    main()
