"""Measure how bfloat16 in the frozen network affects the accuracy, log loss and duration of `train`.

Alternates `train` with ``--precision float32`` and with the default, in a five-fold cross-validation on the real
photos: on a single fold, chance makes a larger difference than the precision. Arguments, such as ``--fine-tune top``,
are passed on to `train`. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import TRAINING, VALIDATION, finish, scratch, timed

PARTS, PRECISIONS = 5, ("float32", "auto")


def main(*flags: str) -> None:
    """Run the benchmark and print one JSON line."""
    photos = sorted(file for folder in (TRAINING, VALIDATION) for file in folder.rglob("*.jpg"))
    parts = np.array_split(np.random.default_rng(0).permutation(len(photos)), PARTS)
    rows: dict[str, list[dict[str, Any]]] = {precision: [] for precision in PRECISIONS}
    with scratch() as folder:
        for part in parts:
            lists = folder / "training.csv", folder / "validation.csv"
            _write(lists[0], [photos[number] for number in np.setdiff1d(np.arange(len(photos)), part)])
            _write(lists[1], [photos[number] for number in part])
            for precision in PRECISIONS:
                model = folder / "model"
                words = ("train", "--data", lists[0], "--validation-data", lists[1], "--model-dir", model)
                more = ("--overwrite", "--precision", precision, *flags)
                seconds, _ = timed("trainer", *words, *more, keras_home=folder / "keras")
                written = json.loads((model / "model.json").read_text())
                row = {name: written["metrics"][name] for name in ("examples", "accuracy", "log_loss")}
                row |= {"seconds": seconds, "in_bfloat16": written["training"]["frozen_in_bfloat16"]}
                rows[precision].append(row)
                print(precision, row, file=sys.stderr)
    result = {precision: _summary(found) for precision, found in rows.items()}
    full, half = (result[precision]["accuracy"] for precision in PRECISIONS)
    finish(result | {"flags": flags}, {"at most 0.005 less accurate": half >= full - 0.005})


def _write(path: Path, photos: list[Path]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("uri", "label"), *((str(photo), photo.parent.name) for photo in photos)])


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    weights = [row["examples"] for row in rows]
    means = {name: float(np.average([row[name] for row in rows], weights=weights)) for name in ("accuracy", "log_loss")}
    seconds = statistics.median(row["seconds"] for row in rows)
    return means | {"photos": sum(weights), "seconds": seconds, "in_bfloat16": rows[0]["in_bfloat16"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
