"""Contents of ``run.json`` and ``class_stats.json``."""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
from collections.abc import Iterable, Mapping
from typing import Any

from catalogue import storage
from catalogue.cli.masking import masked, masked_command, masked_key, masked_within
from catalogue.cli.text import counted
from catalogue.cli.versions import versions
from catalogue.model_dir import ModelInfo
from pipeline.metering.measurement import ALL, DECODING, INFERENCE, READING, Measurement
from pipeline.records import IDENTICAL, REUSED, ClassStats, LeftOut, ReportPhoto, Whole
from pipeline.run_dir.layout import RUN_FILE
from pipeline.run_dir.run import Run, now

Failures = Mapping[str, tuple[tuple[str, str], ...]]

FORMAT = 1
_PACKAGES = ("apache-beam", "tensorflow", "openvino", "numpy", "pillow", "pyarrow", "google-cloud-storage")


@dataclasses.dataclass(frozen=True)
class Counts:
    """Row counts of the inputs and outputs of a run.

    Attributes:
        inputs: lines of the manifest.
        predictions: rows in the files of ``predictions/``.
        summed_predictions: predictions in the statistics of the classes.
        dead_letter_rows: rows in the files of ``dead_letters/``.
        dead_letters: reason -> number of rows.
        duplicates: duplicate manifest lines: rows of an image beyond its first row.
        left_out: hidden files and rows without a URI that were skipped.
        classified: predictions made in this run.
        reused: source -> rows with results of earlier attempts and runs, or of identical images.
        retried: rows of images that were retried after a transient failure.
    """

    inputs: int
    predictions: int
    summed_predictions: int
    dead_letter_rows: int
    dead_letters: Mapping[str, int]
    duplicates: int
    left_out: LeftOut
    classified: int
    reused: Mapping[str, int]
    retried: int

    def problems(self, max_failure_rate: float) -> list[str]:
        """Return the reasons why a run with these counts failed; empty if it succeeded."""
        failed = sum(self.dead_letters.values())
        found = []
        if self.inputs != self.predictions + self.dead_letter_rows or failed != self.dead_letter_rows:
            found.append(
                f"the counts do not balance: {counted(self.inputs, 'input')}, "
                f"{counted(self.predictions, 'prediction')}, {counted(self.dead_letter_rows, 'dead-letter row')}, "
                f"{counted(failed, 'failure')}"
            )
        if self.predictions != self.summed_predictions:
            found.append(
                f"the counts do not balance: {counted(self.predictions, 'prediction row')}, but statistics of "
                f"{counted(self.summed_predictions, 'prediction')}"
            )
        if self.inputs and failed / self.inputs > max_failure_rate:
            of_all = f"{failed:,} of {counted(self.inputs, 'image')}"
            found.append(f"{of_all} failed, more than --max-failure-rate {max_failure_rate:g} allows")
        return found


def read_record(path: str) -> dict[str, Any] | None:
    """Return the content of ``run.json`` in a run directory; None if it has another format. Raises StorageError."""
    try:
        record = json.loads(storage.read_text(f"{path}/{RUN_FILE}"))
    except ValueError:
        return None
    ours = isinstance(record, dict) and record.get("format") == FORMAT and "attempt" in record and "counts" in record
    return record if ours else None


def class_stats_of(model: ModelInfo, counts: Counts, stats: Mapping[str, ClassStats]) -> dict[str, Any]:
    """Return the content of ``class_stats.json``."""

    def examples(photos: Iterable[ReportPhoto]) -> list[dict[str, Any]]:
        return [
            {"uri": masked(photo.uri), "location": masked_key(photo.location), "score": photo.score} for photo in photos
        ]

    def of_class(label: str) -> dict[str, Any]:
        own = stats.get(label)
        return {
            "count": own.count if own else 0,
            "share": own.count / counts.predictions if own else 0.0,
            "mean_score": own.score_sum / own.count if own else None,
            "score_histogram": list(own.histogram) if own else None,
            "share_in_training": model.class_shares.get(label),
            "surest": examples(own.surest) if own else [],
            "least_sure": examples(own.least_sure) if own else [],
        }

    totals = {"predictions": counts.predictions, "dead_letters": counts.dead_letter_rows, "inputs": counts.inputs}
    return {"model_id": model.id, "totals": totals, "classes": {label: of_class(label) for label in model.labels}}


def record_of(run: Run, counts: Counts, whole: Whole, failures: Failures, measured: Measurement) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Args:
        run: settings of the run.
        counts: row counts.
        whole: count and digest of all rows of the manifest, for a shard.
        failures: reason -> a few examples, as (URI, message).
        measured: measurements of the workers.
    """
    finished = now()
    timings = _timings(run.started, finished, counts.inputs, measured)
    problems = counts.problems(run.max_failure_rate)
    content = {
        "format": FORMAT,
        "attempt": run.token,
        "status": "failed" if problems else "succeeded",
        "problems": problems,
        "command": masked_command(run.command),
        "input": list(run.inputs),
        "output": run.output,
        "shard": vars(run.shard) | {"rows": whole.rows, "digest": f"{whole.digest:016x}"} if run.shard else None,
        "merged_from": [],
        "output_format": run.output_format,
        "model_dir": run.model_dir,
        "model_id": run.model.id,
        "counts": {
            "inputs": counts.inputs,
            "predictions": counts.predictions,
            "dead_letters": dict(counts.dead_letters),
            "duplicates": counts.duplicates,
            "left_out": dataclasses.asdict(counts.left_out),
            "classified": counts.classified,
            "identical": counts.reused.get(IDENTICAL, 0),
            "reused": {source: counts.reused.get(source, 0) for source in REUSED},
            "retried": counts.retried,
        },
        "dead_letter_examples": {
            reason: [{"uri": uri, "message": message} for uri, message in examples]
            for reason, examples in sorted(failures.items())
        },
        "max_failure_rate": run.max_failure_rate,
        "timings": timings,
        "engines": [dataclasses.asdict(engine) | {"images": n} for engine, n in sorted(measured.engines.items())],
        "batches": {str(size): count for size, count in sorted(measured.batches.items(), reverse=True)},
        "workers": len(measured.processes),
        "peak_worker_memory_bytes": measured.peak_bytes,
        "price_per_hour": run.price_per_hour,
        "cost_per_million_images": _cost(run, timings["images_per_second"]),
        "cost_per_million_images_from_then_on": _cost(run, timings["images_per_second_from_then_on"]),
        "versions": {"python": platform.python_version()} | versions(_PACKAGES),
    }
    return masked_within(content)


def _cost(run: Run, images_per_second: float | None) -> float | None:
    """Return the cost of a million images, in the currency of the price; None if unknown."""
    if run.price_per_hour is None or not images_per_second:
        return None
    return run.price_per_hour / 3600 / images_per_second * 1e6


def _timings(started: str, finished: str, images: int, measured: Measurement) -> dict[str, Any]:
    """Return the duration and speed of the run, and the time its workers spent on each step."""
    begin, end = (datetime.datetime.fromisoformat(time).timestamp() for time in (started, finished))
    steps = {step: measured.seconds.get(step, 0.0) for step in (READING, DECODING, INFERENCE)}
    first = None if measured.first is None else max(measured.first - begin, 0.0)
    return {
        "started": started,
        "finished": finished,
        "seconds": end - begin,
        "images_per_second": images / max(end - begin, 1e-3),
        "first_prediction_seconds": first,
        "images_per_second_from_then_on": None if first is None else images / max(end - begin - first, 1e-3),
        "worker_seconds": steps | {"rest": max(measured.seconds.get(ALL, 0.0) - sum(steps.values()), 0.0)},
    }
