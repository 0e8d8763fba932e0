"""How long ``train`` takes, against a plain Keras script that runs the frozen network in every one of 10 epochs.

Both are whole commands in processes of their own, start-up and export included, in turn on the same photos. Real photos
are needed: ``CATALOGUE_CLASSIFIER_SHARED`` names their folder, see CONTRIBUTING.md.
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
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return time.monotonic() - start, done.stdout


def main() -> None:
    """Measures both and prints one JSON line."""
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
        run = Path(scratch, "run")
        arguments = ("classify", "--input", training.parent, "--model-dir", model, "--output", run)
        classify, _ = timed("pipeline", *arguments, keras_home=home)
        classified = json.loads((run / "run.json").read_text())["counts"]["predictions"]
    result = {
        "train_seconds": round(ours, 1),
        "validation_accuracy": round(accuracy, 4),
        "plain_seconds": round(plain, 1),
        "plain_validation_accuracy": round(float(printed.split()[-1]), 4),
        "ratio": round(ours / plain, 3),
        "classify_seconds": round(classify, 1),
        "classified": classified,
        "cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in ("tensorflow", "keras", "apache-beam")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
