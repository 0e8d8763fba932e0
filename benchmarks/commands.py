"""What the benchmarks share: where the real photos are, and whole commands run and timed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SHARED = Path(os.environ.get("CATALOGUE_CLASSIFIER_SHARED", Path(__file__).parents[2] / "shared"))
TRAINING, VALIDATION = (SHARED / "datasets/clothing" / name for name in ("train", "validation"))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the while. Its ``keras`` has the ImageNet weights; Keras writes a file of its own beside them."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "keras")
        home.mkdir()
        (home / "models").symlink_to(SHARED / "keras/models")
        yield Path(folder)


def timed(module: str, *arguments: object, keras_home: Path) -> tuple[float, str]:
    """Runs a module as a command. Returns its seconds and its standard output."""
    start = time.monotonic()
    environment = os.environ | {"KERAS_HOME": str(keras_home), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return time.monotonic() - start, done.stdout
