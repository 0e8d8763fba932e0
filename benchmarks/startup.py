"""Measure the time from the start of ``classify`` to the first prediction, on one photo, with alternating engines.

Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import datetime
import statistics
import time

from benchmarks.commands import VALIDATION, classified, finish, scratch, trained

ROUNDS = 5
LIMITS = {"openvino": 5.0, "tensorflow": 10.0}  # seconds


def main() -> None:
    """Run the benchmark and print one JSON line."""
    photo = next(VALIDATION.rglob("*.jpg"))
    seconds: dict[str, list[float]] = {name: [] for name in LIMITS}
    with scratch() as folder:
        model = trained(folder)
        for _ in range(ROUNDS):
            for engine, found in seconds.items():
                begin = time.time()
                _, record = classified(photo, model, folder, "--engine", engine)
                started = datetime.datetime.fromisoformat(record["timings"]["started"]).timestamp()
                found.append(started - begin + record["timings"]["first_prediction_seconds"])
    result = {engine: {"median": statistics.median(found), "worst": max(found)} for engine, found in seconds.items()}
    finish(result, {f"{name}: {limit} s": result[name]["median"] < limit for name, limit in LIMITS.items()})


if __name__ == "__main__":
    main()
