"""How long the commands take on real photos, and ``train`` against a plain Keras script.

The script runs the frozen network in every one of 10 epochs. All are whole commands in processes of their own,
start-up and export included, one after the other on the same photos. Real photos are needed:
``CATALOGUE_CLASSIFIER_SHARED`` names their folder, see CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

EPOCHS_OF_PLAIN = 10
SHARED = Path(os.environ.get("CATALOGUE_CLASSIFIER_SHARED", Path(__file__).parents[2] / "shared"))


def timed(module: str, *arguments: object, keras_home: Path) -> tuple[float, str]:
    """Runs a module as a command. Returns its seconds and its standard output."""
    start = time.monotonic()
    environment = os.environ | {"KERAS_HOME": str(keras_home), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return time.monotonic() - start, done.stdout


def classified(where: Path, model: Path, run: Path, keras_home: Path) -> tuple[float, int]:
    """Classifies photos. Returns the seconds it took and the number of predictions."""
    arguments = ("classify", "--input", where, "--model-dir", model, "--output", run)
    seconds, _ = timed("pipeline", *arguments, keras_home=keras_home)
    return seconds, json.loads((run / "run.json").read_text())["counts"]["predictions"]


def main() -> None:
    """Measures all and prints one JSON line."""
    training, validation = (SHARED / "datasets/clothing" / name for name in ("train", "validation"))
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "keras")
        home.mkdir()
        (home / "models").symlink_to(SHARED / "keras/models")
        model = Path(scratch, "model")
        arguments = ("train", "--data", training, "--validation-data", validation, "--model-dir", model)
        ours, _ = timed("trainer", *arguments, keras_home=home)
        accuracy = json.loads((model / "model.json").read_text())["metrics"]["accuracy"]
        plain, printed = timed("benchmarks.plain_keras", training, validation, EPOCHS_OF_PLAIN, keras_home=home)
        listed = Path(scratch, "one.txt")
        listed.write_text(str(next(validation.rglob("*.jpg"))))
        one, _ = classified(listed, model, Path(scratch, "one"), home)
        all_, count = classified(training.parent, model, Path(scratch, "all"), home)
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
