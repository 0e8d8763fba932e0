"""Measure whether ``classify`` keeps its speed and memory as the catalogue grows, and is faster with two processes.

Catalogues of 10,000 and 100,000 images repeat the real photos. Measures images per second from the first prediction on,
and the peak memory of the largest worker process. Alternating runs compare one worker process with two, each with one
thread. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.commands import catalogue, classified, finish, scratch, trained

FEW, MANY, ROUNDS = 10_000, 100_000, 3


def main() -> None:
    """Run the benchmark and print one JSON line."""
    result: dict[str, Any] = {}
    with scratch() as folder:
        model = trained(folder)
        speeds: dict[int, list[float]] = {1: [], 2: []}
        photos = catalogue(folder, FEW)
        for _ in range(ROUNDS):
            for count, found in speeds.items():
                flags = ("--direct_running_mode", "multi_processing", "--direct_num_workers", count)
                _, record = classified(photos, model, folder, *flags, "--engine-threads", 1)
                found.append(speed(record))
        one, two = map(statistics.median, speeds.values())
        result["processes"] = {"one": one, "two": two, "ratio": two / one}
        print(result["processes"], file=sys.stderr)
        for name, images in {"few": photos, "many": catalogue(folder, MANY)}.items():
            _, record = classified(images, model, folder)
            megabytes = record["peak_worker_memory_bytes"] / 2**20
            result[name] = {"images_per_second": speed(record), "peak_mib": megabytes}
            print(name, result[name], file=sys.stderr)
    for key in ("images_per_second", "peak_mib"):
        result[f"{key}_ratio"] = result["many"][key] / result["few"][key]
    wanted = {
        "same speed with many images": result["images_per_second_ratio"] >= 0.95,
        "same memory with many images": result["peak_mib_ratio"] <= 1.05,
        "1.8 times as fast with two processes": result["processes"]["ratio"] >= 1.8,
    }
    finish(result, wanted)


def speed(record: dict[str, Any]) -> float:
    """Return the images per second without startup."""
    return record["timings"]["images_per_second_from_then_on"]


if __name__ == "__main__":
    main()
