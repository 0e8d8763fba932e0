"""How long the commands take on real photos, and ``train`` against a plain Keras script.

The script runs the frozen network in every one of 10 epochs. All are whole commands in processes of their own,
start-up and export included, one after the other on the same photos. Real photos are needed:
``CATALOGUE_CLASSIFIER_SHARED`` names their folder, see CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

from benchmarks.commands import TRAINING, VALIDATION, scratch, timed

EPOCHS_OF_PLAIN = 10


def classified(where: Path, model: Path, run: Path, keras_home: Path) -> tuple[float, int]:
    """Classifies photos. Returns the seconds it took and the number of predictions."""
    arguments = ("classify", "--input", where, "--model-dir", model, "--output", run)
    seconds, _ = timed("pipeline", *arguments, keras_home=keras_home)
    return seconds, json.loads((run / "run.json").read_text())["counts"]["predictions"]


def main() -> None:
    """Measures all and prints one JSON line."""
    with scratch() as folder:
        home, model = folder / "keras", folder / "model"
        arguments = ("train", "--data", TRAINING, "--validation-data", VALIDATION, "--model-dir", model)
        ours, _ = timed("trainer", *arguments, keras_home=home)
        accuracy = json.loads((model / "model.json").read_text())["metrics"]["accuracy"]
        plain, printed = timed("benchmarks.plain_keras", TRAINING, VALIDATION, EPOCHS_OF_PLAIN, keras_home=home)
        listed = folder / "one.txt"
        listed.write_text(str(next(VALIDATION.rglob("*.jpg"))))
        one, _ = classified(listed, model, folder / "one", home)
        all_, count = classified(TRAINING.parent, model, folder / "all", home)
    result = {
        "train_seconds": round(ours, 1),
        "validation_accuracy": round(accuracy, 4),
        "plain_seconds": round(plain, 1),
        "plain_validation_accuracy": round(float(printed.split()[-1]), 4),
        "ratio": round(ours / plain, 3),
        "classify_one_seconds": round(one, 1),
        "classify_all_seconds": round(all_, 1),
        "classified": count,
        "cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in ("tensorflow", "keras", "apache-beam")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
