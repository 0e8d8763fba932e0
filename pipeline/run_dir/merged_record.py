"""Contents of ``run.json`` and ``class_stats.json`` of merged runs."""

from __future__ import annotations

import collections
import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from catalogue.cli.masking import masked_command, masked_within
from pipeline.journal.statistics import EXAMPLES
from pipeline.records import LeftOut
from pipeline.run_dir.record import Counts
from pipeline.run_dir.run import Attempt

Json = dict[str, Any]


def merged_record(attempt: Attempt, records: Sequence[Json]) -> Json:
    """Return the content of ``run.json``. The duration is the time in which at least one of the runs was running.

    Args:
        attempt: attempt that writes the merged run directory.
        records: content of ``run.json`` of each run; all have the same model and output format.
    """
    counts, timings = _counts([record["counts"] for record in records]), _timings(records)
    prices = [record["price_per_hour"] for record in records]
    rate = max(record["max_failure_rate"] for record in records)
    problems = _as_counts(counts).problems(rate)
    return masked_within(
        records[0]
        | {
            "attempt": attempt.token,
            "status": "failed" if problems else "succeeded",
            "problems": problems,
            "command": masked_command(attempt.command),
            "input": list(dict.fromkeys(name for record in records for name in record["input"])),
            "output": attempt.output,
            "shard": None,
            "merged_from": [{name: record[name] for name in ("output", "attempt", "shard")} for record in records],
            "counts": counts,
            "dead_letter_examples": _examples([record["dead_letter_examples"] for record in records]),
            "max_failure_rate": rate,
            "timings": timings,
            "engines": _engines(engine for record in records for engine in record["engines"]),
            "batches": _added([record["batches"] for record in records]),
            "workers": sum(record["workers"] for record in records),
            "peak_worker_memory_bytes": max(record["peak_worker_memory_bytes"] for record in records),
            "price_per_hour": None if None in prices else sum(prices),
            "cost_per_million_images": _cost(records, counts["inputs"], starting_up=True),
            "cost_per_million_images_from_then_on": _cost(records, counts["inputs"], starting_up=False),
            "versions": _versions([record["versions"] for record in records]),
        }
    )


def merged_class_stats(class_stats: Sequence[Json]) -> Json:
    """Return the content of ``class_stats.json``.

    Args:
        class_stats: content of ``class_stats.json`` of each run; all have the same model.
    """
    totals = _added([own["totals"] for own in class_stats])
    classes = {
        label: _class([own["classes"][label] for own in class_stats], totals["predictions"])
        for label in class_stats[0]["classes"]
    }
    return class_stats[0] | {"totals": totals, "classes": classes}


def _class(parts: Sequence[Json], predictions: int) -> Json:
    count = sum(part["count"] for part in parts)
    found = [part for part in parts if part["count"]]
    if not found:
        return parts[0]
    photos = {(-photo["score"], photo["uri"]): photo for part in found for photo in part["surest"] + part["least_sure"]}
    ranked = [photo for _, photo in sorted(photos.items())]
    return parts[0] | {
        "count": count,
        "share": count / predictions,
        "mean_score": sum(part["mean_score"] * part["count"] for part in found) / count,
        "score_histogram": [sum(bins) for bins in zip(*(part["score_histogram"] for part in found), strict=True)],
        "surest": ranked[:EXAMPLES],
        "least_sure": ranked[max(EXAMPLES, len(ranked) - EXAMPLES) :][::-1],
    }


def _counts(parts: Sequence[Json]) -> Json:
    """Add up counts, including nested ones."""
    return {
        name: _added([part[name] for part in parts]) if isinstance(value, dict) else sum(part[name] for part in parts)
        for name, value in parts[0].items()
    }


def _added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = collections.Counter[str]()
    for part in parts:
        total.update(part)
    return dict(total)


def _as_counts(counts: Json) -> Counts:
    return Counts(
        inputs=counts["inputs"],
        predictions=counts["predictions"],
        summed_predictions=counts["predictions"],
        dead_letter_rows=sum(counts["dead_letters"].values()),
        dead_letters=counts["dead_letters"],
        duplicates=counts["duplicates"],
        left_out=LeftOut(**counts["left_out"]),
        classified=counts["classified"],
        reused=counts["reused"],
        retried=counts["retried"],
    )


def _examples(parts: Iterable[Mapping[str, list[Json]]]) -> dict[str, list[Json]]:
    found = collections.defaultdict[str, list[Json]](list)
    for part in parts:
        for reason, examples in part.items():
            found[reason] += examples
    return {reason: examples[:EXAMPLES] for reason, examples in sorted(found.items())}


def _engines(engines: Iterable[Json]) -> list[Json]:
    images = collections.Counter[tuple[tuple[str, str], ...]]()
    for engine in engines:
        images[tuple((name, value) for name, value in engine.items() if name != "images")] += engine["images"]
    return [dict(engine) | {"images": count} for engine, count in sorted(images.items())]


def _timings(records: Sequence[Json]) -> Json:
    timings = [record["timings"] for record in records]
    begins = [_seconds(own["started"]) for own in timings]
    runs = [(begin, begin + own["seconds"]) for begin, own in zip(begins, timings, strict=True)]
    firsts = [own["first_prediction_seconds"] for own in timings]
    from_then_on = [(begin + first, end) for (begin, end), first in zip(runs, firsts, strict=True) if first is not None]
    images, seconds = sum(record["counts"]["inputs"] for record in records), _covered(runs)
    return {
        "started": min(own["started"] for own in timings),
        "finished": max(own["finished"] for own in timings),
        "seconds": seconds,
        "images_per_second": images / max(seconds, 1e-3),
        "first_prediction_seconds": min(begin for begin, _ in from_then_on) - min(begins) if from_then_on else None,
        "images_per_second_from_then_on": images / max(_covered(from_then_on), 1e-3) if from_then_on else None,
        "worker_seconds": _added([own["worker_seconds"] for own in timings]),
    }


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of several intervals: runs may overlap, or be hours apart."""
    total, last = 0.0, -math.inf
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, last))
        last = max(last, end)
    return total


def _seconds(time: str) -> float:
    return datetime.datetime.fromisoformat(time).timestamp()


def _cost(records: Sequence[Json], images: int, *, starting_up: bool) -> float | None:
    """Return the cost of a million images, from the price and duration of each run, with or without its startup."""
    cost = 0.0
    for record in records:
        price, first = record["price_per_hour"], record["timings"]["first_prediction_seconds"]
        if price is None or (first is None and not starting_up):
            return None
        cost += price / 3600 * (record["timings"]["seconds"] - (0.0 if starting_up else first))
    return cost / images * 1e6 if images else None


def _versions(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: ", ".join(sorted({part[name] for part in parts if part.get(name)})) or None for name in names}  # type: ignore[misc]
