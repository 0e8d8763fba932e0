"""The commands of ``make demo``, run in an existing environment."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def demo(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that ``make demo`` fills, and the output of its last command."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    planned = subprocess.run(
        ["make", "-n", "demo", f"DEMO={folder}"], cwd=repository, capture_output=True, text=True, check=True
    )
    steps = re.findall(r"^\S*/python (-m (?:demo|trainer|pipeline)\b.*)$", planned.stdout, flags=re.MULTILINE)
    assert [step.split()[1] for step in steps] == ["demo.draw", "trainer", "pipeline"]
    printed = ""
    for step in steps:
        done = subprocess.run(
            [sys.executable, *step.split()], cwd=repository, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout
    return folder, printed


def test_it_draws_ten_classes_and_a_catalogue_with_broken_files(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    counts = Counter(photo.parent.name for photo in (folder / "photos").rglob("*.jpg"))
    assert len(counts) == 10
    assert 200 <= sum(counts.values()) <= 999
    with (folder / "catalogue.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) > 180


def test_the_model_has_learned_something(demo: tuple[Path, str]) -> None:
    metrics = json.loads((demo[0] / "model/model.json").read_text())["metrics"]
    assert metrics["accuracy"] >= 0.75


def test_the_run_is_a_success_that_accounts_for_every_line(demo: tuple[Path, str], read_rows: Rows) -> None:
    run = demo[0] / "run"
    assert (run / "_SUCCESS").exists()
    reasons = Counter(row["reason"] for row in read_rows(run, "dead_letters"))
    assert set(reasons) == {"truncated", "empty", "unknown_format", "corrupt", "too_small", "not_found"}
    with (demo[0] / "catalogue.csv").open(encoding="utf-8") as file:
        skus = {row["sku"] for row in csv.DictReader(file)}
    written = [row["fields"]["sku"] for folder in ("predictions", "dead_letters") for row in read_rows(run, folder)]
    assert len(written) == len(skus)
    assert set(written) == skus


def test_it_ends_with_the_table(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    for words in ("mean score", "dead letters", "truncated", "images per second", str(folder / "run"), "t-shirt"):
        assert words in printed
