"""A run, its parts and results, and commits of the run with placeholder rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue import model_dir, storage
from catalogue.images.spec import Limits
from pipeline.journal.statistics import Statistics
from pipeline.metering.measurement import NOTHING
from pipeline.records import FinishedImage, LeftOut, ListedImage, Part, Result, Whole
from pipeline.run_dir.commit import commit
from pipeline.run_dir.lock import Holder
from pipeline.run_dir.run import Run, now


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Run:
    info = model_dir.read(tiny_model).info
    command = ("python", "-m", "pipeline")
    return Run(
        output=str(tmp_path / "run"), token="0123456789ab", command=command, inputs=("in",), model_dir="m", model=info,
        output_format="jsonl", rows_per_part=100_000, top_k=5, limits=Limits(), max_failure_rate=0.05,
        price_per_hour=3.6, scratch=None, previous=(), shard=None, overwrite=False, started=now(),
    )  # fmt: skip


def make_part(run: Run, folder: str, number: int, count: int) -> Part:
    path = Path(run.temporary, f"{folder}-{number}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"uri": f"{number}/{row}"}) + "\n" for row in range(count)))
    return Part(folder, number, str(path), count, "digest")


@pytest.fixture
def part() -> Callable[..., Part]:
    """Function that writes a finished part."""
    return make_part


def take_lock(run: Run) -> None:
    """Give a run the lock of its run directory, even if another run holds it."""
    holder = Holder.here(run.token, run.started)
    storage.write_text(f"{run.output}/_lock", json.dumps(dataclasses.asdict(holder)))


def statistics_of(predictions: int, letters: int) -> Statistics:
    """Return the statistics of `predictions` images classified as hats (score 0.99) and `letters` corrupt images."""
    statistics = Statistics()
    for number in range(predictions):
        statistics.add(FinishedImage(ListedImage("a", ((f"{number}", {}),)), Result("a", top=(("hat", 0.99),))))
    for number in range(letters):
        statistics.add(FinishedImage(ListedImage("b", ((f"{number}", {}),)), Result("b", reason="corrupt")))
    return statistics


def results_of(predictions: int, letters: int = 0) -> dict[str, Any]:
    return {
        "inputs": predictions + letters,
        "left_out": LeftOut(),
        "whole": Whole(),
        "statistics": statistics_of(predictions, letters),
        "thumbnails": {},
        "measured": NOTHING,
    }


@pytest.fixture
def results() -> Callable[..., dict[str, Any]]:
    """Function that returns the results of a run other than its rows."""
    return results_of


@pytest.fixture
def commit_rows() -> Callable[..., dict[str, Any]]:
    """Function that commits a run with the given numbers of predictions and dead letters."""

    def call(run: Run, predictions: int, letters: int, **changes: Any) -> dict[str, Any]:
        take_lock(run)
        parts = [make_part(run, "predictions", 1, predictions - 1), make_part(run, "predictions", 0, 1)]
        parts += [make_part(run, "dead_letters", 0, letters), make_part(run, "journal", 0, predictions + letters)]
        record = commit(run, parts=parts, **results_of(predictions, letters) | changes)
        storage.remove(f"{run.output}/_lock")
        return record

    return call
