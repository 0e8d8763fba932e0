"""The names of the files and folders of a run directory.

::

    predictions/part-*     one row for each classified image
    dead_letters/part-*    one row for each image that could not be
    journal/part-*         the result of each image, for later runs to reuse
    class_stats.json       the statistics of each class
    run.json               what ran, with what, and counts that balance
    report.html            the same, to look at
    metrics.prom           its numbers, for Prometheus
    _SUCCESS               written last, and only if the counts balance and the failures are under the limit
    _temporary/TOKEN/      the files of an attempt: ``started``, ``job.json`` of a job elsewhere, chunks of the journal,
                           what is not in its place yet
    _lock                  the run that is at work here
    _failed/               a run that failed and did not replace the finished one beside it
"""

from __future__ import annotations

PREDICTIONS, DEAD_LETTERS, JOURNAL = "predictions", "dead_letters", "journal"
STATS_FILE, RUN_FILE, REPORT_FILE = "class_stats.json", "run.json", "report.html"
METRICS_FILE = "metrics.prom"
SUCCESS_FILE = "_SUCCESS"
TEMPORARY, STARTED, JOB_FILE = "_temporary", "started", "job.json"
LOCK_FILE = "_lock"
FAILED = "_failed"
