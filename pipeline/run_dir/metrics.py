"""Metrics of a run for Prometheus: for the textfile collector of the node exporter, or for a Pushgateway.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "catalogue_classifier_"


def metrics_text(record: Mapping[str, Any], class_stats: Mapping[str, Any]) -> str:
    """Return the content of ``metrics.prom``.

    Args:
        record: content of ``run.json``.
        class_stats: content of ``class_stats.json``.
    """
    return "".join(
        f"{line}\n" for name, help, samples in _metrics(record, class_stats) for line in _lines(name, help, samples)
    )


Samples = list[tuple[dict[str, str], float]]


def _metrics(record: Mapping[str, Any], class_stats: Mapping[str, Any]) -> Iterator[tuple[str, str, Samples]]:
    counts, timings = record["counts"], record["timings"]
    classes = {label: own["count"] for label, own in class_stats["classes"].items()}
    finished = datetime.datetime.fromisoformat(timings["finished"]).timestamp()
    yield (
        "run_info",
        "Model and output directory of the run.",
        [({"model_id": record["model_id"], "output": record["output"]}, 1)],
    )
    yield "run_succeeded", "1 if the run succeeded, 0 if it failed.", _one(record["status"] == "succeeded")
    yield "run_finished_timestamp_seconds", "End time of the run, in seconds since 1970.", _one(finished)
    yield "run_duration_seconds", "Duration of the run, in seconds.", _one(timings["seconds"])
    yield (
        "run_images_per_second",
        "Rows of the manifest per second of the run.",
        _one(timings["images_per_second"]),
    )
    yield "run_inputs", "Rows of the manifest.", _one(counts["inputs"])
    yield "run_predictions", "Rows with a prediction, by label.", _by("label", classes)
    yield "run_dead_letters", "Rows without a prediction, by reason.", _by("reason", counts["dead_letters"])
    yield "run_classified", "Rows classified in this run.", _one(counts["classified"])
    yield (
        "run_reused",
        "Rows with a result of an earlier attempt or run, by the way it was validated.",
        _by("by", counts["reused"]),
    )
    yield "run_identical", "Rows with the result of another image with identical bytes.", _one(counts["identical"])
    yield "run_retried", "Rows of images that were retried after a transient failure.", _one(counts["retried"])
    yield (
        "run_duplicates",
        "Duplicate manifest lines: rows of an image beyond its first row.",
        _one(counts["duplicates"]),
    )
    yield "run_workers", "Worker processes.", _one(record["workers"])
    yield "run_worker_seconds", "Seconds spent by the workers, by step.", _by("step", timings["worker_seconds"])
    yield (
        "run_peak_worker_memory_bytes",
        "Peak memory of a worker process, in bytes.",
        _one(record["peak_worker_memory_bytes"]),
    )


def _one(value: float) -> Samples:
    return [({}, value)]


def _by(label: str, values: Mapping[str, float]) -> Samples:
    return [({label: name}, value) for name, value in values.items()]


def _lines(name: str, help: str, samples: Samples) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {help}"
    yield f"# TYPE {_PREFIX}{name} gauge"
    for labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{_PREFIX}{name}{f'{{{shown}}}' if shown else ''} {float(value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
