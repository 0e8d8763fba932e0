"""A run, and commits of it with rows that say nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from catalogue import model_dir
from pipeline.metering.measurement import NOTHING
from pipeline.records import Chunk, ClassStats, LeftOut
from pipeline.run_dir.commit import commit
from pipeline.run_dir.run import Run, now


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Run:
    info = model_dir.read(tiny_model).info
    command = ("python", "-m", "pipeline")
    return Run(str(tmp_path / "run"), "token", command, ("in",), "model", info, "jsonl", 5, 0.05, 3.6, False, now())


def make_chunk(run: Run, folder: str, name: str, count: int) -> Chunk:
    path = Path(run.temporary, f"{folder}-{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"uri": f"{name}/{number}"}) + "\n" for number in range(count)))
    return Chunk(folder, str(path), count)


@pytest.fixture
def chunk() -> Callable[..., Chunk]:
    """Makes a finished file of rows."""
    return make_chunk


def results_of(inputs: int) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "duplicates": 0,
        "left_out": LeftOut(),
        "stats": {},
        "dead_letters": {},
        "thumbnails": {},
        "columns": pa.schema([]),
        "measured": NOTHING,
    }


@pytest.fixture
def results() -> Callable[[int], dict[str, Any]]:
    """The results of a run besides its rows."""
    return results_of


@pytest.fixture
def commit_rows() -> Callable[..., dict[str, Any]]:
    """Commits a run with so many predictions and dead letters."""

    def call(run: Run, predictions: int, letters: int, **changes: Any) -> dict[str, Any]:
        chunks = [make_chunk(run, "predictions", "b", predictions - 1), make_chunk(run, "predictions", "a", 1)]
        if letters:
            chunks.append(make_chunk(run, "dead_letters", "c", letters))
        histogram = (0,) * 19 + (predictions,)
        given = results_of(predictions + letters) | {
            "stats": {"hat": ClassStats(predictions, predictions * 0.99, histogram, (), ())},
            "dead_letters": {"corrupt": (letters, (("c/0", "torn"),))} if letters else {},
        }
        return commit(run, chunks=chunks, **given | changes)

    return call
