"""Search for the runs whose results a new run reuses."""

from __future__ import annotations

import posixpath

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.reasons import StorageError
from pipeline.run_dir.layout import FAILED, JOURNAL, RUN_FILE, SUCCESS_FILE
from pipeline.run_dir.record import read_record


def previous_runs(given: str | None, output: str) -> tuple[str, ...]:
    """Return the run directories whose results a new run reuses.

    Args:
        given: run directory, or a folder of run directories whose newest finished run is used; None for none.
        output: run directory of the new run. If it holds a failed run, that run's results are reused, too.

    Raises:
        UserError: `given` does not exist, is a file or has no journal; or a folder cannot be read.
    """
    try:
        found = [] if given is None else _finished(given, output)
    except (StorageError, ValueError) as error:
        raise UserError(f"--previous {given} cannot be read: {error}") from error
    try:
        if not storage.exists(f"{output}/{SUCCESS_FILE}"):
            found += [output] if given != output and _is_journaled(output) else []
        elif _is_journaled(f"{output}/{FAILED}"):
            found.append(f"{output}/{FAILED}")
    except (StorageError, ValueError) as error:
        raise UserError(f"--output {output} cannot be read: {error}") from error
    return tuple(found)


def _finished(given: str, output: str) -> list[str]:
    if storage.exists(f"{given}/{RUN_FILE}"):
        if not _is_journaled(given):
            raise UserError(f"--previous {given} has no {JOURNAL}: it was written by an older version")
        return [given]
    if storage.is_file(given):
        raise UserError(f"--previous {given} is a file: give a run directory, or a folder of run directories")
    runs = [f"{given}/{name}" for name in storage.folders(given) or ()]
    finished = [run for run in runs if storage.exists(f"{run}/{SUCCESS_FILE}") and _is_journaled(run)]
    if finished:
        newest = max(finished, key=_age)
        say(f"reusing the results of {newest}")
        return [newest]
    if not storage.exists(given) and posixpath.dirname(output) != given:
        raise UserError(f"--previous {given} does not exist: give a run directory, or a folder of run directories")
    say(f"no finished run in {given}: there is nothing to reuse")
    return []


def _age(run: str) -> tuple[str, bool]:
    """Return a sort key by end time; a merged run comes after the last of its parts."""
    record = read_record(run)
    assert record
    return record["timings"]["finished"], bool(record.get("merged_from"))


def _is_journaled(run: str) -> bool:
    """Return whether a folder is a run directory with a journal."""
    return storage.exists(f"{run}/{RUN_FILE}") and read_record(run) is not None and storage.exists(f"{run}/{JOURNAL}")
