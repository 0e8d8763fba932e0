"""Compare the accuracy of each resize rule, and of two views: runs `train` on real photos with three seeds each.

All other flags have their defaults: MobileNetV2 at 224 pixels, ImageNet weights. Requires real photos in the folder
``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.commands import TRAINING, VALIDATION, finish, scratch, timed
from catalogue.images.spec import RESIZE_RULES

SEEDS = (0, 1, 2)
VIEWS = (*RESIZE_RULES, "crop,pad")


def main() -> None:
    """Run the benchmark and print one JSON line."""
    measured: dict[str, dict[str, list[float]]] = {}
    with scratch() as folder:
        for rule in VIEWS:
            found = measured[rule] = {"accuracy": [], "log_loss": []}
            for seed in SEEDS:
                model = folder / f"{rule}-{seed}"
                arguments = ("train", "--data", TRAINING, "--validation-data", VALIDATION, "--model-dir", model)
                timed("trainer", *arguments, "--views", rule, "--seed", seed, keras_home=folder / "keras")
                metrics = json.loads((model / "model.json").read_text())["metrics"]
                for name, values in found.items():
                    values.append(round(metrics[name], 4))
                print(rule, seed, {name: values[-1] for name, values in found.items()}, file=sys.stderr)
    means = {
        rule: {name: round(statistics.mean(values), 4) for name, values in found.items()}
        for rule, found in measured.items()
    }
    finish({"seeds": SEEDS, "measured": measured, "means": means})


if __name__ == "__main__":
    main()
