"""Integrity check of a finished run directory."""

from __future__ import annotations

from typing import Any

from catalogue import storage
from catalogue.cli.errors import CommandFailed
from pipeline.run_dir.layout import DEAD_LETTERS, JOURNAL, PREDICTIONS, REPORT_FILE, RUN_FILE, STATS_FILE, SUCCESS_FILE
from pipeline.run_dir.record import read_record


def verify(path: str) -> dict[str, Any]:
    """Check that a run directory is complete and agrees with its ``run.json``.

    Returns:
        The content of ``run.json``.

    Raises:
        CommandFailed: a file is missing, or the status or counts do not agree.
    """
    files = {file.location.removeprefix(f"{path}/") for file in storage.list_files(path)}
    record = read_record(path) if RUN_FILE in files else None
    if record is None:
        raise CommandFailed(f"{path} has no {RUN_FILE} that this version can read: the run has not finished")
    counts = record["counts"]
    balanced = counts["inputs"] == counts["predictions"] + sum(counts["dead_letters"].values())
    if (record["status"] == "succeeded") != (SUCCESS_FILE in files) or (SUCCESS_FILE in files and not balanced):
        raise CommandFailed(f"{path}: {RUN_FILE} reports {record['status']}, but its counts or {SUCCESS_FILE} disagree")
    for folder in (PREDICTIONS, DEAD_LETTERS, JOURNAL):
        parts = [file for file in files if file.startswith(f"{folder}/part-")]
        if {f"-of-{len(parts):05}" in part for part in parts} != {True}:
            raise CommandFailed(f"{path}: parts of {folder} are missing")
    missing = {STATS_FILE, REPORT_FILE} - files
    if missing:
        raise CommandFailed(f"{path}: missing {', '.join(sorted(missing))}")
    return record
