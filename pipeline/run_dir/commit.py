"""Last step of a run: moves the rows into place, and writes everything else.

Parts are written below ``_temporary``, see `pipeline.run_dir.write_parts`. The last step of the pipeline, `commit`,
counts their rows and moves them into place. It is idempotent and may be retried at any point. `pipeline.merge` uses
`publish` for copies of the parts of other runs.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from catalogue import storage
from catalogue.cli.errors import CommandFailed, UserError
from catalogue.cli.masking import masked
from pipeline.journal.statistics import Statistics
from pipeline.metering.measurement import Measurement
from pipeline.records import LeftOut, Part, Whole
from pipeline.run_dir.layout import (
    DEAD_LETTERS,
    FAILED,
    JOURNAL,
    METRICS_FILE,
    PREDICTIONS,
    REPORT_FILE,
    RUN_FILE,
    STATS_FILE,
    SUCCESS_FILE,
    TEMPORARY,
    part_names,
)
from pipeline.run_dir.lock import check_holder, exclusive, release_left
from pipeline.run_dir.metrics import metrics_text
from pipeline.run_dir.preflight import abandon
from pipeline.run_dir.record import Counts, class_stats_of, read_record, record_of
from pipeline.run_dir.report import run_page
from pipeline.run_dir.run import Attempt, Run

_OWN = (SUCCESS_FILE, PREDICTIONS, DEAD_LETTERS, JOURNAL, STATS_FILE, REPORT_FILE, METRICS_FILE, RUN_FILE)


@dataclasses.dataclass(frozen=True)
class Results:
    """Results of a run.

    Attributes:
        parts: finished files of rows.
        inputs, left_out: counts, see `Counts`.
        whole: count and digest of all rows of the manifest, for a shard.
        statistics: statistics of all images.
        thumbnails: masked location -> JPEG, for the report.
        measured: measurements of the workers.
    """

    parts: Iterable[Part]
    inputs: int
    left_out: LeftOut
    whole: Whole
    statistics: Statistics
    thumbnails: Mapping[str, bytes]
    measured: Measurement


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents of a run directory.

    Attributes:
        parts: finished files of rows, below the attempt's ``_temporary``.
        record: content of ``run.json``.
        class_stats: content of ``class_stats.json``.
        page: content of ``report.html``.
    """

    parts: Sequence[Part]
    record: dict[str, Any]
    class_stats: dict[str, Any]
    page: str


def commit(run: Run, **results: Any) -> dict[str, Any]:
    """Write the run directory of a job, see `publish`.

    Args:
        run: settings of the run.
        results: attributes of `Results`, as Beam side inputs.

    Returns:
        The content of ``run.json``.

    Raises:
        UserError: another run has taken over this output, or has finished in it.
        CommandFailed: the parts do not belong together.
    """
    return publish(run, lambda: _contents(run, Results(**results)))


def publish(attempt: Attempt, contents: Callable[[], Contents]) -> dict[str, Any]:
    """Move the rows into place and write everything else; ``_SUCCESS`` last, if the run succeeded.

    A runner may call this again after a failure halfway. Until ``run.json`` names this attempt, nothing below
    ``_temporary`` is removed and everything is repeated; after that, only `end` is repeated. If the whole run is
    killed, running the same command again reuses the results in its chunks.

    A finished run is replaced only by a successful run: a failed run is written to the subfolder `FAILED`.

    Args:
        attempt: attempt that writes the run directory.
        contents: callback that makes the contents; not called if ``run.json`` already names this attempt.

    Returns:
        The content of ``run.json``.

    Raises:
        UserError: another run has taken over this output, or has finished in it.
    """
    with exclusive(attempt.output):
        record = _finished(attempt)
        if record:  # an engine has restarted the job
            abandon(attempt)
            return record
        check_holder(attempt.output, attempt.token)
        record = _committed(attempt) or _write(attempt, contents())
        end(attempt, record)
        return record


def end(attempt: Attempt, record: dict[str, Any]) -> None:
    """Finish `publish` once ``run.json`` is written. Idempotent. Raises UserError like `publish`."""
    check_holder(attempt.output, attempt.token)
    storage.remove(f"{attempt.output}/{TEMPORARY}")
    if record["status"] == "succeeded":
        storage.remove(f"{attempt.output}/{FAILED}")
        storage.write_text(f"{attempt.output}/{SUCCESS_FILE}", "")
        release_left(attempt.output, attempt.token)  # a failed run keeps its lock, so that --attach finds it


def has_finished(attempt: Attempt) -> bool:
    """Return whether this attempt has been fully committed. Raises StorageError."""
    return _finished(attempt) is not None


def _finished(attempt: Attempt) -> dict[str, Any] | None:
    folder = committed_to(attempt)
    record = read_record(folder) if folder else None
    is_complete = record and (record["status"] != "succeeded" or storage.is_file(f"{folder}/{SUCCESS_FILE}"))
    return record if is_complete else None


def committed_to(attempt: Attempt) -> str | None:
    """Return the folder in which this attempt has written ``run.json``; None if it has not written it yet."""
    for folder in (attempt.output, f"{attempt.output}/{FAILED}"):
        record = read_record(folder) if storage.exists(f"{folder}/{RUN_FILE}") else None
        if record and record["attempt"] == attempt.token:
            return folder
    return None


def _committed(run: Attempt) -> dict[str, Any] | None:
    """Return the content of ``run.json`` if this attempt has already written it, else None.

    Raises:
        UserError: a concurrent run has finished in the same output.
    """
    folder = committed_to(run)
    if folder is not None:
        return read_record(folder)
    if storage.exists(f"{run.output}/{SUCCESS_FILE}") and not run.overwrite:
        raise UserError(
            f"another run has finished in {run.output}: its rows are kept, and the rows of this run are discarded"
        )
    return None


def _contents(run: Run, results: Results) -> Contents:
    """Return the contents of the run directory of a job. Raises UserError and CommandFailed like `commit`."""
    parts = sorted(results.parts, key=lambda part: (part.folder, part.number))
    statistics, counts = results.statistics, _counts_of(parts, results)
    left = storage.list_files(run.temporary) if storage.exists(run.temporary) else ()
    if {part.path for part in parts} - {file.location for file in left}:
        raise UserError(f"another run in {run.output} has removed files of this run: give each run its own --output")
    class_stats = class_stats_of(run.model, counts, statistics.classes())
    record = record_of(run, counts, results.whole, statistics.failures(), results.measured)
    page = run_page(record, class_stats, results.thumbnails, part_names(parts))
    _check_parts(parts)
    return Contents(parts, record, class_stats, page)


def _write(run: Attempt, contents: Contents) -> dict[str, Any]:
    """Write the contents of the run directory, ``run.json`` last; `end` does the rest.

    Returns:
        The content of ``run.json``.
    """
    record, target = contents.record, run.output
    if record["problems"] and storage.exists(f"{run.output}/{SUCCESS_FILE}"):
        target = f"{run.output}/{FAILED}"
        record["output"] = masked(target)
    check_holder(run.output, run.token)
    for name in _OWN:
        storage.remove(f"{target}/{name}")
    _remove_halves(target)
    _place(target, contents.parts)
    _write_json(f"{target}/{STATS_FILE}", contents.class_stats)
    storage.write_text(f"{target}/{REPORT_FILE}", contents.page)
    storage.write_text(f"{target}/{METRICS_FILE}", metrics_text(record, contents.class_stats))
    check_holder(run.output, run.token)
    _write_json(f"{target}/{RUN_FILE}", record)
    return record


def _remove_halves(target: str) -> None:
    """Remove the partial files that a killed process has left in a run directory."""
    files = storage.list_files(target) if storage.exists(target) else ()
    names = (file.location.removeprefix(f"{target}/") for file in files)
    for name in [name for name in names if "/" not in name and storage.is_temporary(name)]:
        storage.remove(f"{target}/{name}")


def _check_parts(parts: Sequence[Part]) -> None:
    """Reject parts that are incomplete, or were made from different chunks. Raises CommandFailed."""
    numbers = collections.defaultdict[str, list[int]](list)
    for part in parts:
        numbers[part.folder].append(part.number)
    are_complete = all(found == list(range(len(found))) for found in numbers.values())
    if not are_complete or len({part.digest for part in parts}) > 1:
        raise CommandFailed("the runner returned parts of two computations of the same rows: run the command again")


def _counts_of(parts: Iterable[Part], results: Results) -> Counts:
    rows, statistics = collections.Counter[str](), results.statistics
    for part in parts:
        rows[part.folder] += part.rows
    return Counts(
        inputs=results.inputs,
        predictions=rows[PREDICTIONS],
        summed_predictions=statistics.predictions,
        dead_letter_rows=rows[DEAD_LETTERS],
        dead_letters=dict(sorted(statistics.dead_letters.items())),
        duplicates=statistics.duplicates,
        left_out=results.left_out,
        classified=statistics.classified,
        reused=statistics.reused,
        retried=statistics.retried,
    )


def _place(target: str, parts: Sequence[Part]) -> None:
    """Copy the parts into a run directory, under their final names."""
    storage.copy_all((part.path, f"{target}/{name}") for part, name in zip(parts, part_names(parts), strict=True))


def _write_json(path: str, content: dict[str, Any]) -> None:
    storage.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
