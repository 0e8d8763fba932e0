"""Helpers of the benchmarks: paths of the real photos, catalogues made of these photos, and timed commands."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catalogue.cli.versions import versions
from pipeline.machine import cores

SHARED = Path(os.environ.get("CATALOGUE_CLASSIFIER_SHARED", Path(__file__).parents[2] / "shared"))
_PACKAGES = ("apache-beam", "keras", "openvino", "pillow", "tensorflow")
TRAINING, VALIDATION = (SHARED / "datasets/clothing" / name for name in ("train", "validation"))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Create a temporary folder.

    Its subfolder ``keras`` serves as ``KERAS_HOME``: Keras can write its settings there, and the link ``models`` in it
    leads to the shared ImageNet weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "keras")
        home.mkdir()
        (home / "models").symlink_to(SHARED / "keras/models")
        yield Path(folder)


def timed(module: str, *arguments: object, keras_home: Path) -> tuple[float, str]:
    """Run a module as a command. Return its duration in seconds and its standard output."""
    start = time.monotonic()
    environment = os.environ | {"KERAS_HOME": str(keras_home), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return time.monotonic() - start, done.stdout


def trained(folder: Path, *flags: object, on_few: bool = False) -> Path:
    """Train a model, by default MobileNetV2 at 224 pixels, on the real photos. Return its model directory.

    Args:
        folder: folder from `scratch`.
        flags: additional flags of ``train``.
        on_few: whether to train only on the validation photos, if the quality of the model does not matter.
    """
    model = folder / "model"
    photos = ("--data", VALIDATION) if on_few else ("--data", TRAINING, "--validation-data", VALIDATION)
    timed("trainer", "train", *photos, "--model-dir", model, *flags, keras_home=folder / "keras")
    return model


def catalogue(folder: Path, count: int) -> Path:
    """Create a folder of `count` copies of the real photos, each with a number appended, a thousand per subfolder.

    The numbers make the files differ, because identical files would be classified only once.
    """
    photos, target = sorted([*TRAINING.rglob("*.jpg"), *VALIDATION.rglob("*.jpg")]), folder / f"catalogue-{count}"
    for number in range(count):
        file = target / f"{number // 1000:04}" / f"{number:07}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photos[number % len(photos)].read_bytes() + f"{number}".encode())
    return target


def classified(where: Path, model: Path, folder: Path, *flags: object) -> tuple[float, dict[str, Any]]:
    """Classify images. Return the seconds of the whole command, and the content of ``run.json``."""
    run = folder / "run"
    arguments = ("classify", "--input", where, "--model-dir", model, "--output", run, "--overwrite", *flags)
    seconds, _ = timed("pipeline", *arguments, keras_home=folder / "keras")
    return seconds, json.loads((run / "run.json").read_text())


def finish(result: dict[str, Any], wanted: Mapping[str, bool] | None = None) -> None:
    """Print the JSON line of a benchmark, and exit with an error if a limit is not met.

    Args:
        result: measurements, not rounded; the name of the benchmark, the number of cores and the versions are added.
        wanted: description of each limit -> whether it is met.
    """
    about = {"benchmark": Path(sys.argv[0]).stem, "cores": cores(), "versions": versions(_PACKAGES)}
    print(json.dumps(_rounded(about | result)), flush=True)
    missed = [words for words, holds in (wanted or {}).items() if not holds]
    if missed:
        sys.exit("limits not met: " + "; ".join(missed))


def _rounded(value: Any) -> Any:
    """Round all floats in a nested value to four significant digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(own) for key, own in value.items()}
    return [_rounded(own) for own in value] if isinstance(value, list | tuple) else value
