"""Summary table of ``classify`` and ``merge``: classes, dead letters, performance."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from catalogue import storage
from catalogue.cli.errors import CommandFailed
from catalogue.cli.logs import print_line
from catalogue.cli.text import counted
from pipeline.records import CONDITIONAL, CONTENT, UNREAD, EngineChoice
from pipeline.run_dir.layout import STATS_FILE, SUCCESS_FILE

_SOURCES = {
    UNREAD: "without reading them",
    CONDITIONAL: "after a conditional read",
    CONTENT: "with identical bytes",
}


def print_summary(folder: str, record: dict[str, Any], output: str) -> None:
    """Print the summary table of the run in `folder`. Raises CommandFailed if the run did not succeed."""
    class_stats = json.loads(storage.read_text(f"{folder}/{STATS_FILE}"))
    with contextlib.suppress(CommandFailed):  # the run is complete even if printing fails
        for line in summary(record, class_stats):
            print_line(line)
    if record["problems"]:
        where = f"; the rows are in {folder}, without {SUCCESS_FILE}"
        kept = "" if folder == output else f"; the finished run in {output} is unchanged"
        raise CommandFailed("; ".join(record["problems"]) + where + kept)


def summary(record: dict[str, Any], class_stats: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the summary table."""
    counts = record["counts"]
    found = {label: own for label, own in class_stats["classes"].items() if own["count"]}
    ranked = sorted(found.items(), key=lambda item: -item[1]["count"])
    width = max([5, *map(len, found)])
    yield f"{'class':{width}}     images   share  in training  mean score"
    for label, own in ranked:
        trained = "–" if own["share_in_training"] is None else f"{own['share_in_training']:.1%}"
        yield f"{label:{width}}  {own['count']:9,}  {own['share']:6.1%}  {trained:>11}  {own['mean_score']:10.3f}"
    failed = sum(counts["dead_letters"].values())
    yield ""
    inputs, letters = counted(counts["inputs"], "image"), counted(failed, "dead letter")
    yield f"{inputs}: {counted(counts['predictions'], 'prediction')}, {letters}"
    for reason, count in sorted(counts["dead_letters"].items(), key=lambda item: -item[1]):
        yield f"  {reason:20} {count:9,}"
    reused = {source: count for source, count in counts["reused"].items() if count}
    if reused:
        words = ", ".join(f"{counted(count, 'image')} {_SOURCES[source]}" for source, count in reused.items())
        yield f"{counts['classified']:,} classified in this run; results reused for {words}"
    if counts["identical"]:
        yield f"{counted(counts['identical'], 'image')} not classified again: bytes identical to those of another image"
    if counts["retried"]:
        yield f"{counted(counts['retried'], 'image')} retried after a transient failure"
    if counts["duplicates"]:
        yield f"duplicate manifest lines: {counts['duplicates']:,}"
    left_out = counts["left_out"]
    if left_out["hidden_files"]:
        yield f"{counted(left_out['hidden_files'], 'hidden file')} skipped"
    if left_out["rows_without_uri"]:
        yield f"{counted(left_out['rows_without_uri'], 'row')} without a URI skipped"
    yield from performance(record)
    of = "this unsuccessful run" if record["problems"] else "this run"
    yield f"rows, statistics and report.html of {of} are in {record['output']}"


def performance(record: dict[str, Any]) -> Iterator[str]:
    """Yield lines about the engines, the time spent per step, the speed and the cost."""
    timings = record["timings"]
    for own in record["engines"]:
        engine = EngineChoice(own["engine"], own["precision"], own["device"], own["reason"])
        yield f"{counted(own['images'], 'image')} by {engine.in_words()}"
    worked = sum(timings["worker_seconds"].values())
    if worked:
        shares = ", ".join(f"{step} {seconds / worked:.1%}" for step, seconds in timings["worker_seconds"].items())
        yield f"worker time after startup: {shares}"
        sizes = ", ".join(f"{count:,} × {size} images" for size, count in record["batches"].items())
        peak = f"peak memory of a worker process: {record['peak_worker_memory_bytes'] / 2**20:,.0f} MiB"
        yield f"batches: {sizes}; {peak}" if sizes else peak
    speed = f"{timings['seconds']:,.1f} s, {timings['images_per_second']:,.1f} images per second, including startup"
    then = timings["images_per_second_from_then_on"]
    if then is not None:
        speed += f"; first prediction after {timings['first_prediction_seconds']:,.1f} s, then "
        speed += f"{then:,.1f} images per second"
    yield speed
    if record["cost_per_million_images"] is not None:
        cost = (
            f"at {record['price_per_hour']:g} per hour, a million images cost {record['cost_per_million_images']:,.2f}"
        )
        if record["cost_per_million_images_from_then_on"] is not None:
            cost += f", {record['cost_per_million_images_from_then_on']:,.2f} without startup"
        yield cost
