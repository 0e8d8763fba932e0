"""The last step of a run: rows get their place, and everything else is written.

Parts are written below ``_temporary``, see `pipeline.run_dir.write_parts`. The last step of the pipeline, `commit`,
counts their rows and gives them their place. It may be tried again at any point.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from pipeline.journal.statistics import Statistics
from pipeline.metering.measurement import Measurement
from pipeline.records import LeftOut, Part
from pipeline.run_dir.layout import (
    DEAD_LETTERS,
    JOURNAL,
    PREDICTIONS,
    REPORT_FILE,
    RUN_FILE,
    STATS_FILE,
    SUCCESS_FILE,
    TEMPORARY,
)
from pipeline.run_dir.record import Counts, class_stats_of, read_record, record_of
from pipeline.run_dir.report import run_page
from pipeline.run_dir.run import Run

_OWN = (SUCCESS_FILE, PREDICTIONS, DEAD_LETTERS, JOURNAL, STATS_FILE, REPORT_FILE, RUN_FILE)


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run has found.

    Attributes:
        parts: the finished files of rows.
        inputs, left_out: see `Counts`.
        statistics: of all images.
        thumbnails: location -> JPEG, for the report.
        measured: what the workers did.
    """

    parts: Iterable[Part]
    inputs: int
    left_out: LeftOut
    statistics: Statistics
    thumbnails: Mapping[str, bytes]
    measured: Measurement


def commit(run: Run, **results: Any) -> dict[str, Any]:
    """Gives the rows their place and writes everything else; ``_SUCCESS`` last, if it was one.

    A runner may call this again after a failure half-way. Until ``run.json`` names this attempt nothing below
    ``_temporary`` has been removed and all is done anew; from then on only the end is left to do.

    Args:
        run: what was known before.
        results: the attributes of `Results`, as Beam's side inputs.

    Returns:
        The content of ``run.json``.
    """
    record = _record_of(run) or _write(run, Results(**results))
    storage.remove(f"{run.output}/{TEMPORARY}")
    if record["status"] == "succeeded":
        storage.write_text(f"{run.output}/{SUCCESS_FILE}", "")
    return record


def _record_of(run: Run) -> dict[str, Any] | None:
    """The content of ``run.json`` if this attempt has written it already.

    Raises:
        UserError: a run that began at about the same time has finished in the same place.
    """
    record = read_record(run.output) if storage.exists(f"{run.output}/{RUN_FILE}") else None
    if record and record["attempt"] == run.token:
        return record
    if storage.exists(f"{run.output}/{SUCCESS_FILE}") and not run.overwrite:
        raise UserError(f"another run has finished in {run.output} meanwhile: its rows are kept, these are not")
    return None


def _write(run: Run, results: Results) -> dict[str, Any]:
    """Everything but the end of `commit`; ``run.json`` last."""
    parts = sorted(results.parts, key=lambda part: (part.folder, part.number))
    rows = collections.Counter[str]()
    for part in parts:
        rows[part.folder] += part.rows
    statistics = results.statistics
    reasons = dict(sorted(statistics.dead_letters.items()))
    counts = Counts(
        inputs=results.inputs,
        predictions=rows[PREDICTIONS],
        dead_letter_rows=rows[DEAD_LETTERS],
        dead_letters=reasons,
        duplicates=statistics.duplicates,
        left_out=results.left_out,
        classified=statistics.classified,
        reused=statistics.reused,
        retried=statistics.retried,
    )
    left = storage.list_files(run.temporary) if storage.exists(run.temporary) else ()
    if {part.path for part in parts} - {file.location for file in left}:
        raise UserError(f"another run in {run.output} has removed files of this one: choose another --output for each")
    for name in _OWN:
        storage.remove(f"{run.output}/{name}")
    _place(run, parts)
    classes = statistics.classes()
    class_stats, record = class_stats_of(run.model, counts, classes), record_of(run, counts, results.measured)
    page = run_page(record, class_stats, classes, statistics.failures(), results.thumbnails)
    _write_json(f"{run.output}/{STATS_FILE}", class_stats)
    storage.write_text(f"{run.output}/{REPORT_FILE}", page)
    _write_json(f"{run.output}/{RUN_FILE}", record)
    return record


def _place(run: Run, parts: Iterable[Part]) -> None:
    """Gives the parts their names."""
    totals = collections.Counter(part.folder for part in parts)

    def place(part: Part) -> str:
        ending = part.path.rpartition(".")[2]
        return f"{run.output}/{part.folder}/part-{part.number:05}-of-{totals[part.folder]:05}.{ending}"

    storage.copy_all((part.path, place(part)) for part in parts)


def _write_json(path: str, content: dict[str, Any]) -> None:
    storage.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
