"""Names of the files and folders of a run directory.

::

    predictions/part-*     one row for each classified image
    dead_letters/part-*    one row for each image that could not be classified
    journal/part-*         the result of each image, for later runs to reuse
    class_stats.json       the statistics of each class
    run.json               the settings, counts, timings and versions of the run
    report.html            the report, for people
    metrics.prom           the metrics, for Prometheus
    _SUCCESS               written last, and only if the counts balance and the failures are within the limit
    _temporary/TOKEN/      the files of an attempt: ``started``, ``job.json`` of a remote job, chunks of the journal,
                           parts that are not in place yet
    _lock                  the lock, which names the run that is working here
    _failed/               a failed run that did not replace the finished one in its parent folder
"""

from __future__ import annotations

import collections
from collections.abc import Iterable

from pipeline.records import Part

PREDICTIONS, DEAD_LETTERS, JOURNAL = "predictions", "dead_letters", "journal"
STATS_FILE, RUN_FILE, REPORT_FILE = "class_stats.json", "run.json", "report.html"
METRICS_FILE = "metrics.prom"
SUCCESS_FILE = "_SUCCESS"
TEMPORARY, STARTED, JOB_FILE = "_temporary", "started", "job.json"
LOCK_FILE = "_lock"
FAILED = "_failed"


def part_names(parts: Iterable[Part]) -> list[str]:
    """Return the final path of each part in the run directory, given all parts of the run."""
    parts = list(parts)
    totals = collections.Counter(part.folder for part in parts)

    def name(part: Part) -> str:
        ending = part.path.rpartition(".")[2]
        return f"{part.folder}/part-{part.number:05}-of-{totals[part.folder]:05}.{ending}"

    return [name(part) for part in parts]
