"""The run directory: rows into files, and the files into their place when all of them are there.

::

    predictions/part-*     one row for each classified image
    dead_letters/part-*    one row for each image that could not be
    class_stats.json       the statistics of each class
    run.json               what ran, with what, and counts that balance
    report.html            the same, to look at
    _SUCCESS               written last, and only if the counts balance and the failures are under the limit

Rows are written where they arise, each bundle into files of its own below ``_temporary``. A bundle that is tried again
writes new files and only those of the try that succeeded are passed on, so nothing is lost and nothing doubled. The
last step of the pipeline, `commit`, counts what is in the files and gives them their place; it may be tried again at
any point, too.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogue.cli.console import CommandFailed, UserError, counted, versions
from catalogue.model_dir.directory import ModelInfo
from catalogue.storage.files import is_remote
from pipeline import storage
from pipeline.metering.meter import ALL, DECODING, INFERENCE, READING, Measurement
from pipeline.records import Chunk, ClassStats
from pipeline.run_dir import tables
from pipeline.run_dir.report import run_page
from pipeline.run_dir.tables import DEAD_LETTERS, PREDICTIONS

FORMAT = 1
STATS_FILE, RUN_FILE, REPORT_FILE, SUCCESS_FILE = "class_stats.json", "run.json", "report.html", "_SUCCESS"
_TEMPORARY = "_temporary"
_OWN = (SUCCESS_FILE, PREDICTIONS, DEAD_LETTERS, STATS_FILE, REPORT_FILE, RUN_FILE)
_PACKAGES = ("apache-beam", "tensorflow", "openvino", "numpy", "pillow", "pyarrow", "google-cloud-storage")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run before it starts.

    Attributes:
        output: the run directory.
        token: names this attempt; its unfinished files are below ``_temporary/TOKEN``.
        command: as it was typed.
        inputs: what is classified.
        model_dir: where the model is.
        model: what its ``model.json`` says.
        output_format: of the rows, one of `pipeline.records.OUTPUT_FORMATS`.
        top_k: how many labels each row has at least room for.
        max_failure_rate: the share of dead letters above which a run is not a success.
        price_per_hour: of all machines together; None if it is not known.
        overwrite: whether a finished run may be replaced.
        started: ISO 8601, UTC.
    """

    output: str
    token: str
    command: tuple[str, ...]
    inputs: tuple[str, ...]
    model_dir: str
    model: ModelInfo
    output_format: str
    top_k: int
    max_failure_rate: float
    price_per_hour: float | None
    overwrite: bool
    started: str

    @property
    def temporary(self) -> str:
        """Where the files of this attempt are until they are complete."""
        return f"{self.output}/{_TEMPORARY}/{self.token}"


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def check(path: str, *, overwrite: bool) -> None:
    """Refuses an output that must not be written to.

    What may be replaced is a run directory and nothing else: ``run.json`` is ours, or there is none yet and the files
    of an attempt that was killed are there; its folders of rows hold parts only.

    Raises:
        UserError: it is a file, holds something else than a run, or a finished run and `overwrite` is not set.
    """
    try:
        files = [file.removeprefix(f"{path}/") for file in storage.files(path)]
        ours = read_record(path) is not None if RUN_FILE in files else any(map(_is_unfinished, files))
    except storage.ERRORS as error:
        raise UserError(f"--output {path} cannot be read: {error}") from error
    if not is_remote(path) and os.path.isfile(path):
        raise UserError(f"--output {path} is a file: choose a folder")
    strange = [
        file for file in files if file.startswith((f"{PREDICTIONS}/", f"{DEAD_LETTERS}/")) and "/part-" not in file
    ]
    if files and (not ours or strange):
        raise UserError(f"--output {path} exists and is no run directory: choose another folder")
    if SUCCESS_FILE in files and not overwrite:
        raise UserError(f"--output {path} holds a finished run: choose another folder or give --overwrite")


def _is_unfinished(file: str) -> bool:
    return file.startswith(f"{_TEMPORARY}/") and file.endswith("/started")


@contextlib.contextmanager
def attempt(run: Run, *, here: bool) -> Iterator[None]:
    """Makes sure that the output can be written before anything is started; removes what is left if that fails.

    Args:
        run: what is known.
        here: whether the job ends with this process. One that runs elsewhere may go on, and needs its files.

    Raises:
        UserError: the output cannot be written.
    """
    made = [] if is_remote(run.output) else _missing_folders(Path(run.temporary))
    try:
        try:
            storage.write_text(f"{run.temporary}/started", run.started)
        except storage.ERRORS as error:
            raise UserError(f"--output {run.output} cannot be written: {error}") from error
        yield
    except BaseException as error:
        if here or isinstance(error, UserError):
            _abandon(run, made)
        raise


def _abandon(run: Run, made: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):  # the storage may be what failed
        storage.remove(run.temporary)
    for folder in made:
        with contextlib.suppress(OSError):  # not there, or no longer empty
            folder.rmdir()


def _missing_folders(path: Path) -> list[Path]:
    """Those of a folder and the folders above it that do not exist, the deepest first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What went in and what came out.

    Attributes:
        inputs: lines of the manifest.
        predictions: rows in the files of ``predictions/``.
        dead_letter_rows: rows in the files of ``dead_letters/``.
        dead_letters: reason -> how many.
        duplicates: lines that name an image which another line names too.
    """

    inputs: int
    predictions: int
    dead_letter_rows: int
    dead_letters: Mapping[str, int]
    duplicates: int

    def problems(self, max_failure_rate: float) -> list[str]:
        """Why a run with these counts is no success; empty if it is one."""
        failed = sum(self.dead_letters.values())
        found = []
        if self.inputs != self.predictions + self.dead_letter_rows or failed != self.dead_letter_rows:
            found.append(
                f"the counts do not balance: {self.inputs:,} inputs, {self.predictions:,} predictions, "
                f"{self.dead_letter_rows:,} rows of dead letters, {failed:,} reasons"
            )
        if self.inputs and failed / self.inputs > max_failure_rate:
            of_all = f"{failed:,} of {counted(self.inputs, 'image')}"
            found.append(f"{of_all} failed, more than --max-failure-rate {max_failure_rate:g} allows")
        return found


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run has found.

    Attributes:
        chunks: the finished files of rows.
        inputs, duplicates: see `Counts`.
        stats: label -> statistics.
        dead_letters: reason -> (how many, examples as (URI, message)).
        thumbnails: location -> JPEG, for the report.
        columns: of the manifest, without the URI.
        measured: what the workers did.
    """

    chunks: Iterable[Chunk]
    inputs: int
    duplicates: int
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
    storage.remove(f"{run.output}/{_TEMPORARY}")
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
    counts = Counts(results.inputs, rows[PREDICTIONS], rows[DEAD_LETTERS], reasons, results.duplicates)
    lost = {path for found in paths.values() for path in found} - set(storage.files(run.temporary))
    if lost:
        raise UserError(f"another run in {run.output} has removed files of this one: choose another --output for each")
    for name in _OWN:
        storage.remove(f"{run.output}/{name}")
    for folder, chunks in paths.items():
        _place(run, folder, chunks, results.columns)
    class_stats, record = _class_stats(run.model, counts, results.stats), _run_record(run, counts, results.measured)
    examples = {reason: shown for reason, (_, shown) in results.dead_letters.items()}
    page = run_page(record, class_stats, results.stats, examples, results.thumbnails)
    _write_json(f"{run.output}/{STATS_FILE}", class_stats)
    storage.write_text(f"{run.output}/{REPORT_FILE}", page)
    _write_json(f"{run.output}/{RUN_FILE}", record)
    return record


def read_record(path: str) -> dict[str, Any] | None:
    """The content of ``run.json`` of a run directory; None if that file is not one of ours."""
    try:
        record = json.loads(storage.read_text(f"{path}/{RUN_FILE}"))
    except ValueError:
        return None
    ours = isinstance(record, dict) and record.get("format") == FORMAT and "attempt" in record and "counts" in record
    return record if ours else None


def verify(path: str) -> dict[str, Any]:
    """Reads a finished run directory and checks that it is whole: what its job said of it is what is there.

    Returns:
        The content of ``run.json``.

    Raises:
        CommandFailed: something is missing, or does not agree.
    """
    files = {file.removeprefix(f"{path}/") for file in storage.files(path)}
    record = read_record(path) if RUN_FILE in files else None
    if record is None:
        raise CommandFailed(f"{path} has no {RUN_FILE}: the run has not finished")
    counts = record["counts"]
    balanced = counts["inputs"] == counts["predictions"] + sum(counts["dead_letters"].values())
    if (record["status"] == "succeeded") != (SUCCESS_FILE in files) or (SUCCESS_FILE in files and not balanced):
        raise CommandFailed(f"{path}: {RUN_FILE} says {record['status']} and does not agree with {SUCCESS_FILE}")
    for folder in (PREDICTIONS, DEAD_LETTERS):
        parts = [file for file in files if file.startswith(f"{folder}/part-")]
        if {f"-of-{len(parts):05}" in part for part in parts} != {True}:
            raise CommandFailed(f"{path}: parts of {folder} are missing")
    missing = {STATS_FILE, REPORT_FILE} - files
    if missing:
        raise CommandFailed(f"{path}: {', '.join(sorted(missing))} missing")
    return record


def _place(run: Run, folder: str, paths: list[str], columns: pa.Schema) -> None:
    """Gives the files of rows their names; a folder has at least one part, if only an empty one."""
    if not paths:
        paths = [f"{run.temporary}/{folder}-none.{run.output_format}"]
        tables.write_nothing(paths[0], folder, columns, run.top_k)
    targets = [f"{run.output}/{folder}/part-{n:05}-of-{len(paths):05}.{run.output_format}" for n in range(len(paths))]
    storage.copy_within(paths, targets)


def _class_stats(model: ModelInfo, counts: Counts, stats: Mapping[str, ClassStats]) -> dict[str, Any]:
    def of_class(label: str) -> dict[str, Any]:
        own = stats.get(label)
        return {
            "count": own.count if own else 0,
            "share": own.count / counts.predictions if own else 0.0,
            "mean_score": own.score_sum / own.count if own else None,
            "score_histogram": list(own.histogram) if own else None,
            "share_in_training": model.class_shares.get(label),
        }

    totals = {"predictions": counts.predictions, "dead_letters": counts.dead_letter_rows, "inputs": counts.inputs}
    return {"model_id": model.id, "totals": totals, "classes": {label: of_class(label) for label in model.labels}}


def _run_record(run: Run, counts: Counts, measured: Measurement) -> dict[str, Any]:
    finished = now()
    timings = _timings(run.started, finished, counts.inputs, measured)
    problems = counts.problems(run.max_failure_rate)
    return {
        "format": FORMAT,
        "attempt": run.token,
        "status": "failed" if problems else "succeeded",
        "problems": problems,
        "command": list(run.command),
        "input": list(run.inputs),
        "output": run.output,
        "output_format": run.output_format,
        "model_dir": run.model_dir,
        "model_id": run.model.id,
        "counts": {
            "inputs": counts.inputs,
            "predictions": counts.predictions,
            "dead_letters": dict(counts.dead_letters),
            "duplicates": counts.duplicates,
            "reused": 0,
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


def _cost(run: Run, images_per_second: float | None) -> float | None:
    """Of a million images, in the currency of the price."""
    if run.price_per_hour is None or images_per_second is None:
        return None
    return run.price_per_hour / 3600 / images_per_second * 1e6


def _timings(started: str, finished: str, images: int, measured: Measurement) -> dict[str, Any]:
    """How long the run took, and what its workers did meanwhile."""
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


def _write_json(path: str, content: dict[str, Any]) -> None:
    storage.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
