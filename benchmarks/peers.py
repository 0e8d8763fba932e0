"""Compare ``classify`` with other tools on a folder of photos, with the same network and batch size.

The other tools are listed in `PEERS`. Each has a script in ``benchmarks/peer_scripts``, which follows the documentation
of the tool, and a separate environment, which this command creates below ``build/peers``. Each round runs every tool as
a command on a few photos and on all photos: the difference between the two times gives the speed of the tool, and the
rest of the time is its startup. Each tool writes its labels to a file. These labels are compared with the labels of the
network in float32 on photos read as in training, so differences in decoding and resizing show up, too.

Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.commands import catalogue, classified, finish, scratch, trained
from catalogue import model_dir
from catalogue.cli.text import counted

SCRIPTS, ENVIRONMENTS = Path(__file__).parent / "peer_scripts", Path(__file__).parents[1] / "build/peers"
TENSORFLOW = ("tensorflow==2.21.0", "keras==3.15.1")


@dataclasses.dataclass(frozen=True)
class Network:
    """Network to run.

    Attributes:
        flags: flags of ``train``.
        size: side of the images in pixels.
        few, all: number of photos in the short run and in the full run.
        random_weights: whether the weights are random instead of those for ImageNet.
    """

    flags: tuple[object, ...]
    size: int
    few: int
    all: int
    random_weights: bool = False


RANDOM_WEIGHTS = """
import sys, keras
keras.utils.set_random_seed(0)
shape = (int(sys.argv[2]), int(sys.argv[2]), 3)
getattr(keras.applications, sys.argv[1])(weights=None, include_top=False, input_shape=shape).save_weights(sys.argv[3])
"""
# Photos are stretched to a square, as the scripts of the other tools do.
NETWORKS = {
    "MobileNetV2": Network(("--resize", "stretch"), 224, 341, 3409),
    "Xception": Network(
        ("--resize", "stretch", "--backbone", "Xception", "--image-size", 299),
        299,
        32,
        341,
        random_weights=True,
    ),
}
PEERS = {
    "tf_data": TENSORFLOW,
    "beam_run_inference": (*TENSORFLOW, "apache-beam==2.77.0", "tensorflow-hub==0.16.1", "pillow==12.3.0"),
    "ray_data": (*TENSORFLOW, "ray[data]==2.60.0", "pillow==12.3.0"),
    "daft_udf": (*TENSORFLOW, "daft==0.7.26"),
}
OURS = {"classify, OpenVINO": ("openvino", "auto"), "classify, TensorFlow": ("tensorflow", "auto")}
WANTED = {"classify, OpenVINO": 3.0, "classify, TensorFlow": 1.6}  # times the fastest peer

Labels = dict[str, str]
Tool = Callable[[Path], tuple[float, Labels]]


def environment(name: str) -> Path:
    """Return the Python executable of a peer's environment. Creates the environment if necessary."""
    folder = ENVIRONMENTS / name
    done, wanted = folder / "requirements.txt", "\n".join(PEERS[name])
    if not done.exists() or done.read_text() != wanted:
        print(f"creating an environment for {name} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *PEERS[name]], check=True)
        done.write_text(wanted)
    return folder / "bin/python"


def peer(name: str, python: Path, model: Path, network: Network, batch_size: int, folder: Path) -> Tool:
    """Return a `Tool`, a function from a folder of photos to seconds and labels, that runs a peer's script."""
    names = model_dir.read(model).info.labels
    output = folder / f"{name}.csv"

    def run(photos: Path) -> tuple[float, Labels]:
        output.unlink(missing_ok=True)
        words = [python, SCRIPTS / f"{name}.py", model / "model.keras", photos, output, network.size, batch_size]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "true"}
        start = time.monotonic()
        done = subprocess.run(
            list(map(str, words)), env=os.environ | quiet, cwd=folder, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - start
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-4000:]}")
        with output.open(newline="") as file:
            return seconds, {Path(path).name: names[int(index)] for path, index, _ in csv.reader(file)}

    return run


def own(engine: str, precision: str, model: Path, batch_size: int, folder: Path) -> Tool:
    """Return a `Tool` that runs ``classify``."""

    def run(photos: Path) -> tuple[float, Labels]:
        flags = ("--engine", engine, "--precision", precision, "--batch-size", batch_size)
        seconds, _ = classified(photos, model, folder, *flags)
        labels = {}
        for part in sorted((folder / "run/predictions").iterdir()):
            for row in map(json.loads, part.read_text().splitlines()):
                labels[Path(row["uri"]).name] = row["label"]
        return seconds, labels

    return run


def weights(name: str, network: Network, folder: Path) -> tuple[object, ...]:
    """Return the flag for random weights, which suffice to measure speed; empty for a network with ImageNet weights."""
    if not network.random_weights:
        return ()
    file = folder / "random.weights.h5"
    subprocess.run([sys.executable, "-c", RANDOM_WEIGHTS, name, str(network.size), file], check=True)
    return "--weights", file


def compared(name: str, rounds: int, batch_size: int, folder: Path) -> dict[str, Any]:
    """Run all tools with one network. Return the speed and startup of each, and its share of labels as in float32."""
    network = NETWORKS[name]
    model = trained(folder, *network.flags, *weights(name, network, folder), on_few=network.random_weights)
    few, all_ = catalogue(folder, network.few), catalogue(folder, network.all)
    tools: dict[str, Tool] = {
        name: functools.partial(own(engine, precision, model, batch_size, folder))
        for name, (engine, precision) in OURS.items()
    }
    tools |= {name: peer(name, environment(name), model, network, batch_size, folder) for name in PEERS}
    _, truth = own("tensorflow", "float32", model, batch_size, folder)(all_)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
    agreeing: dict[str, float] = {}
    for round_ in range(rounds):
        for tool, run in tools.items():
            (seconds_few, _), (seconds_all, labels) = run(few), run(all_)
            if labels.keys() != truth.keys():
                print(f"{tool}: {counted(len(truth.keys() - labels.keys()), 'photo')} lost", file=sys.stderr)
            agreeing[tool] = sum(labels.get(photo) == label for photo, label in truth.items()) / len(truth)
            speed = (network.all - network.few) / (seconds_all - seconds_few)
            found[tool].append((speed, seconds_few - network.few / speed))
            print(f"{name}, round {round_ + 1}: {tool}: {speed:.1f} images/s", file=sys.stderr)
    result: dict[str, Any] = {}
    for tool, rows in found.items():
        speeds, start_ups = zip(*rows, strict=True)
        result[tool] = {
            "images_per_second": statistics.median(speeds),
            "rounds": speeds,
            "start_up_seconds": statistics.median(start_ups),
            "labels_as_float32": agreeing[tool],
        }
    fastest = max(result[name]["images_per_second"] for name in PEERS)
    ratios = {tool: result[tool]["images_per_second"] / fastest for tool in OURS}
    return result | {"times_the_fastest_peer": ratios}


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", choices=NETWORKS, action="append", help="network to run, may be repeated (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    wanted: dict[str, bool] = {}
    for name in arguments.network or NETWORKS:
        with scratch() as folder:
            result[name] = compared(name, arguments.rounds, arguments.batch_size, folder)
        ratios = result[name]["times_the_fastest_peer"]
        wanted |= {
            f"{name}: {tool}: {ratio} times as fast as the fastest peer": ratios[tool] >= ratio
            for tool, ratio in WANTED.items()
        }
    finish(result | {"batch_size": arguments.batch_size, "peers": PEERS}, wanted)


if __name__ == "__main__":
    main()
