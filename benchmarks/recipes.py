"""Run the recipes in docs/guides/recipes.md as written, and measure their accuracy and duration.

``python -m benchmarks.recipes`` runs all of them, which takes hours; ``python -m benchmarks.recipes "dense network"
...`` runs the named ones. Failures are reported. For recipes on IDX files, the accuracy is measured on the published
test files; for recipes on photos of clothes, on the validation photos. Each model then classifies a few photos with the
pipeline.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.commands import SHARED, TRAINING, VALIDATION, finish, scratch, timed

PAGE = Path(__file__).parents[1] / "docs/guides/recipes.md"
PHOTOS = 8
PLAIN_EPOCHS = 2  # epochs of the plain script, the baseline for the sweep of heads


def recipes() -> dict[str, list[str]]:
    """Return the recipes in docs/guides/recipes.md: name -> words of the command."""
    rows = re.findall(r"^\| ([^|]+) \| `([^`]+)` \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: shlex.split(command) for name, command in rows}


def run(words: list[str], folder: Path, keras_home: Path) -> dict[str, object]:
    """Run a recipe. Return its duration in seconds, and its accuracies."""
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
    """Classify a few photos with a model. Return the number of predictions."""
    listed = output.with_suffix(".txt")
    listed.parent.mkdir(exist_ok=True)
    listed.write_text("\n".join(map(str, sorted(VALIDATION.rglob("*.jpg"))[:PHOTOS])))
    timed("pipeline", "classify", "--input", listed, "--model-dir", model, "--output", output, keras_home=keras_home)
    return json.loads((output / "run.json").read_text())["counts"]["predictions"]


def main(names: list[str]) -> None:
    """Run recipes and print one JSON line."""
    known = recipes()
    results: dict[str, dict[str, object]] = {}
    with scratch() as folder:
        for name in names or known:
            try:
                results[name] = run(known[name], folder, folder / "keras")
            except subprocess.CalledProcessError as error:  # such as unavailable weights
                results[name] = {"failed": error.stderr.splitlines()[-1]}
            print(name, results[name], file=sys.stderr, flush=True)
    finish({"recipes": results})


if __name__ == "__main__":
    main(sys.argv[1:])
