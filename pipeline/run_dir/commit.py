"""The last step of a run: rows get their place, and everything else is written.

Rows are written where they arise, each bundle into files of its own below ``_temporary``. A bundle that is tried again
writes new files and only those of the try that succeeded are passed on, so nothing is lost and nothing doubled. The
last step of the pipeline, `commit`, counts the rows of these files and gives them their place; it may be tried again at
any point, too.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from catalogue import storage
from catalogue.cli.errors import UserError
from pipeline.metering.measurement import Measurement
from pipeline.records import Chunk, ClassStats, LeftOut
from pipeline.run_dir import formats
from pipeline.run_dir.layout import (
    DEAD_LETTERS,
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

_OWN = (SUCCESS_FILE, PREDICTIONS, DEAD_LETTERS, STATS_FILE, REPORT_FILE, RUN_FILE)


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run has found.

    Attributes:
        chunks: the finished files of rows.
        inputs, duplicates, left_out: see `Counts`.
        stats: label -> statistics.
        dead_letters: reason -> (how many, examples as (URI, message)).
        thumbnails: location -> JPEG, for the report.
        columns: of the manifest, without the URI.
        measured: what the workers did.
    """

    chunks: Iterable[Chunk]
    inputs: int
    duplicates: int
    left_out: LeftOut
    stats: Mapping[str, ClassStats]
    dead_letters: Mapping[str, tuple[int, tuple[tuple[str, str], ...]]]
    thumbnails: Mapping[str, bytes]
    columns: pa.Schema
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
    paths: dict[str, list[str]] = {PREDICTIONS: [], DEAD_LETTERS: []}
    rows = collections.Counter[str]()
    for chunk in sorted(results.chunks, key=lambda chunk: chunk.path):
        paths[chunk.folder].append(chunk.path)
        rows[chunk.folder] += chunk.rows
    reasons = {reason: count for reason, (count, _) in sorted(results.dead_letters.items())}
    counts = Counts(
        results.inputs, rows[PREDICTIONS], rows[DEAD_LETTERS], reasons, results.duplicates, results.left_out
    )
    left = storage.list_files(run.temporary) if storage.exists(run.temporary) else ()
    lost = {path for found in paths.values() for path in found} - {file.location for file in left}
    if lost:
        raise UserError(f"another run in {run.output} has removed files of this one: choose another --output for each")
    for name in _OWN:
        storage.remove(f"{run.output}/{name}")
    for folder, chunks in paths.items():
        _place(run, folder, chunks, results.columns)
    class_stats, record = class_stats_of(run.model, counts, results.stats), record_of(run, counts, results.measured)
    examples = {reason: shown for reason, (_, shown) in results.dead_letters.items()}
    page = run_page(record, class_stats, results.stats, examples, results.thumbnails)
    _write_json(f"{run.output}/{STATS_FILE}", class_stats)
    storage.write_text(f"{run.output}/{REPORT_FILE}", page)
    _write_json(f"{run.output}/{RUN_FILE}", record)
    return record


def _place(run: Run, folder: str, paths: list[str], columns: pa.Schema) -> None:
    """Gives the files of rows their names; a folder has at least one part, if only an empty one."""
    if not paths:
        paths = [f"{run.temporary}/{folder}-none.{run.output_format}"]
        formats.writer(paths[0], folder, columns, run.top_k).close()
    targets = [f"{run.output}/{folder}/part-{n:05}-of-{len(paths):05}.{run.output_format}" for n in range(len(paths))]
    storage.copy_all(zip(paths, targets, strict=True))


def _write_json(path: str, content: dict[str, Any]) -> None:
    storage.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
