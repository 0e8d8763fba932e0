"""Measure the duration of ``train`` and ``classify`` on real photos, and compare ``train`` with a plain Keras script.

The script runs the frozen network in each of its 10 epochs. All commands run one after another in separate processes;
startup and export are included. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see
CONTRIBUTING.md.
"""

from __future__ import annotations

import json

from benchmarks.commands import TRAINING, VALIDATION, classified, finish, scratch, timed

EPOCHS_OF_PLAIN = 10


def main() -> None:
    """Run the benchmark and print one JSON line."""
    with scratch() as folder:
        home, model = folder / "keras", folder / "model"
        arguments = ("train", "--data", TRAINING, "--validation-data", VALIDATION, "--model-dir", model)
        ours, _ = timed("trainer", *arguments, keras_home=home)
        accuracy = json.loads((model / "model.json").read_text())["metrics"]["accuracy"]
        plain, printed = timed("benchmarks.plain_keras", TRAINING, VALIDATION, EPOCHS_OF_PLAIN, keras_home=home)
        one, _ = classified(next(VALIDATION.rglob("*.jpg")), model, folder)
        all_, record = classified(TRAINING.parent, model, folder)
    result = {
        "train_seconds": ours,
        "validation_accuracy": accuracy,
        "plain_seconds": plain,
        "plain_validation_accuracy": float(printed.split()[-1]),
        "ratio": ours / plain,
        "classify_one_seconds": one,
        "classify_all_seconds": all_,
        "classified": record["counts"]["predictions"],
        "engine": record["engines"][0]["engine"],
    }
    finish(result, {"training in a third of the time": result["ratio"] < 1 / 3})


if __name__ == "__main__":
    main()
