"""Measure the accuracy of the fine-tuning recipe with three seeds, optionally with other flags.

``python -m benchmarks.fine_tuning`` runs the recipe in docs/guides/recipes.md. Each argument is a variant, with flags
to add to the recipe; an empty argument stands for the recipe itself: ``python -m benchmarks.fine_tuning '' '--ema
0.997'``. A run takes some minutes. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see
CONTRIBUTING.md.
"""

from __future__ import annotations

import math
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import recipes
from benchmarks.commands import finish, scratch

RECIPE = "fine-tuned with augmentation"
SEEDS = (1, 2, 3)


def main(variants: list[str]) -> None:
    """Run the benchmark and print one JSON line."""
    measured = {}
    with scratch() as folder:
        for number, variant in enumerate(variants):
            measured[variant] = of_variant(folder / str(number), folder / "keras", shlex.split(variant))
            print(repr(variant), measured[variant], file=sys.stderr, flush=True)
    finish({"seeds": SEEDS, "variants": measured})


def of_variant(folder: Path, keras_home: Path, flags: list[str]) -> dict[str, Any]:
    """Return the accuracies of the recipe with `flags` added, their mean and standard error, and the durations."""
    accuracies, seconds = [], []
    for seed in SEEDS:
        place = folder / str(seed)
        place.mkdir(parents=True)
        words = [*recipes.recipes()[RECIPE], *flags, "--seed", str(seed)]
        found = recipes.run(words, place, keras_home)
        accuracies.append(float(str(found["validation"])))
        seconds.append(found["seconds"])
    return {
        "accuracies": [round(value, 4) for value in accuracies],
        "mean": round(statistics.mean(accuracies), 4),
        "standard_error": round(statistics.stdev(accuracies) / math.sqrt(len(SEEDS)), 4),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main(sys.argv[1:] or [""])
