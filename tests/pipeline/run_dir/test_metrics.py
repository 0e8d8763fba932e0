"""Metrics of a run, read by Prometheus's own parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.run_dir.metrics import metrics_text
from pipeline.run_dir.run import Run

Commit = Callable[..., dict[str, Any]]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            found[sample.name.removeprefix("catalogue_classifier_run_"), tuple(sample.labels.items())] = sample.value
    return found


def test_the_numbers_are_those_of_the_run(commit_rows: Commit, run: Run) -> None:
    record = commit_rows(run, 1990, 10)
    found = parsed(Path(run.output, "metrics.prom").read_text())
    assert found["succeeded", ()] == 1
    assert found["inputs", ()] == 2000
    assert sum(value for (name, _), value in found.items() if name == "predictions") == 1990
    assert sum(value for (name, _), value in found.items() if name == "dead_letters") == 10
    assert found["duration_seconds", ()] == record["timings"]["seconds"]
    assert found["worker_seconds", (("step", "inference"),)] == record["timings"]["worker_seconds"]["inference"]
    assert found["info", (("model_id", run.model.id), ("output", run.output))] == 1


@pytest.mark.parametrize("label", ['a "quoted" hat', "back\\slash", "two\nlines", "läuft, {ganz} gut=ja"])
def test_labels_of_any_kind(label: str, commit_rows: Commit, run: Run) -> None:
    record = commit_rows(run, 1, 0)
    text = metrics_text(record, {"classes": {label: {"count": 7}}})
    assert parsed(text)["predictions", (("label", label),)] == 7
