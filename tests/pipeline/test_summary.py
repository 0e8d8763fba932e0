from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.run_dir.run import Run
from pipeline.summary import performance

Commit = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("price", "cost"), [(3.6, "at 3.6 per hour, a million images cost "), (0.0, "at 0 per hour"), (None, "")]
)
def test_what_it_cost_is_said_only_where_there_is_a_price(
    commit_rows: Commit, run: Run, price: float | None, cost: str
) -> None:
    """The run has no measured first prediction, so the summary has no cost without startup."""
    record = commit_rows(dataclasses.replace(run, price_per_hour=price), 1, 0)
    *_, last = performance(record)
    if cost:
        assert last.startswith(cost)
        assert "startup" not in last
    else:
        assert "a million" not in last
