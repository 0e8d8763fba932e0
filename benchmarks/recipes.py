"""The recipes of the README, run as they stand there: what each reaches, and in what time.

``python -m benchmarks.recipes`` runs all, which takes hours; ``python -m benchmarks.recipes "dense network" ...`` runs
those that are named. One that fails is said to. Recipes on IDX files are measured on the published test files, those on
photos of clothes on the validation photos. Every model then classifies a few photos with the pipeline.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.commands import SHARED, TRAINING, VALIDATION, finish, scratch, timed

README = Path(__file__).parents[1] / "README.md"
PHOTOS = 8
PLAIN_EPOCHS = 2  # of the plain script, which the sweep of heads is compared with


def recipes() -> dict[str, list[str]]:
    """Name -> the words of its command, from the README's table."""
    section = README.read_text(encoding="utf-8").split("\n### Recipes\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `([^`]+)` \|$", section, flags=re.MULTILINE)
    return {name: shlex.split(command) for name, command in rows}


def run(words: list[str], folder: Path, keras_home: Path) -> dict[str, object]:
    """Runs a recipe. Returns its seconds, and the accuracies it reached."""
    placed = [str(SHARED / "datasets" / word) if (SHARED / "datasets" / word).exists() else word for word in words[3:]]
    places = {flag: words[words.index(flag) + 1] for flag in ("--model-dir", "--output") if flag in words}
    placed = [str(folder / word) if word in places.values() else word for word in placed]
    seconds, _ = timed(words[2], *placed, keras_home=keras_home)
    found: dict[str, object] = {"seconds": round(seconds, 1)}
    if "--output" in places:
        trials = json.loads((folder / places["--output"] / "sweep.json").read_text())["trials"]
        found["trials"] = {" ".join(trial["values"].values()): trial["accuracy"] for trial in trials}
        if "--one-at-a-time" in words:
            plain, _ = timed("benchmarks.plain_keras", TRAINING, VALIDATION, PLAIN_EPOCHS, keras_home=keras_home)
            found["seconds_of_plain_epochs"] = round(plain, 1)
    if "--model-dir" in places:
        model = folder / places["--model-dir"]
        found["validation"] = json.loads((model / "model.json").read_text())["metrics"].get("accuracy")
        data = placed[placed.index("--data") + 1]
        if data.endswith(".gz"):
            test = data.replace("train-images", "t10k-images")
            output = folder / "test" / model.name
            timed(
                "trainer", "evaluate", "--model-dir", model, "--data", test, "--output", output, keras_home=keras_home
            )
            found["test"] = json.loads((output / "evaluation.json").read_text())["accuracy"]
        found["classified"] = classified(model, folder / "runs" / model.name, keras_home)
    return found


def classified(model: Path, output: Path, keras_home: Path) -> int:
    """How many of a few photos the pipeline classifies with a model."""
    listed = output.with_suffix(".txt")
    listed.parent.mkdir(exist_ok=True)
    listed.write_text("\n".join(map(str, sorted(VALIDATION.rglob("*.jpg"))[:PHOTOS])))
    timed("pipeline", "classify", "--input", listed, "--model-dir", model, "--output", output, keras_home=keras_home)
    return json.loads((output / "run.json").read_text())["counts"]["predictions"]


def main(names: list[str]) -> None:
    """Runs recipes and prints one JSON line."""
    known = recipes()
    results: dict[str, dict[str, object]] = {}
    with scratch() as folder:
        for name in names or known:
            try:
                results[name] = run(known[name], folder, folder / "keras")
            except subprocess.CalledProcessError as error:  # such as weights that are not to be had here
                results[name] = {"failed": error.stderr.splitlines()[-1]}
            print(name, results[name], file=sys.stderr, flush=True)
    finish({"recipes": results})


if __name__ == "__main__":
    main(sys.argv[1:])
