from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue.cli.errors import CommandFailed
from pipeline.run_dir.run import Run
from pipeline.run_dir.verify import verify

Commit = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("run.json", "has not finished"),
        ("_SUCCESS", "its counts or _SUCCESS disagree"),
        ("predictions/part-00001-of-00002.jsonl", "parts of predictions are missing"),
        ("dead_letters/part-00000-of-00001.jsonl", "parts of dead_letters are missing"),
        ("class_stats.json", r"missing class_stats\.json"),
    ],
)
def test_a_run_directory_that_is_not_whole_is_refused(commit_rows: Commit, run: Run, lost: str, words: str) -> None:
    record = commit_rows(run, 10, 0)
    assert verify(run.output) == record
    Path(run.output, lost).unlink()
    with pytest.raises(CommandFailed, match=words):
        verify(run.output)
