"""The ``merge`` command: merge several finished run directories, such as the runs of all shards, into one.

Rows are copied, not recomputed. The only images read are the photos in the report.
"""

from __future__ import annotations

import collections
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from catalogue import storage
from catalogue.cli.command import ignore_interrupts
from catalogue.cli.errors import CommandFailed, UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from catalogue.images.spec import DEFAULT_LIMITS
from catalogue.reasons import StorageError
from pipeline import remote_run
from pipeline.records import FetchedImage, ListedImage, Part
from pipeline.run_dir import preflight, report
from pipeline.run_dir.commit import Contents, publish
from pipeline.run_dir.layout import (
    DEAD_LETTERS,
    JOURNAL,
    PREDICTIONS,
    RUN_FILE,
    STATS_FILE,
    SUCCESS_FILE,
    part_names,
)  # fmt: skip
from pipeline.run_dir.lock import held
from pipeline.run_dir.merged_record import merged_class_stats, merged_record
from pipeline.run_dir.row_counts import columns_and_rows
from pipeline.run_dir.run import Attempt, now
from pipeline.run_dir.verify import verify
from pipeline.summary import print_summary

_THREADS = 8
_SHOWN = 5


def merge_command(given: Sequence[str], output: str, command: Sequence[str], *, overwrite: bool) -> None:
    """Merge run directories and print the summary table.

    Args:
        given: run directories, or folders that contain them.
        output: path of the new run directory.
        command: command line as typed, for ``run.json``.
        overwrite: whether a finished run at `output` may be replaced.

    Raises:
        UserError: the runs cannot be read or merged, or the output cannot be used.
        CommandFailed: a run has a damaged file or more or fewer rows than it counted, a file cannot be copied, or too
            many images have failed.
    """
    for path in (*given, output):
        storage.check(path)
    output = storage.absolute(output)
    try:
        runs = _found(list(map(storage.absolute, given)), output)
        records = [_record(run) for run in runs]
        _check_together(runs, records)
    except StorageError as error:
        raise UserError(f"the runs cannot be read: {error}") from error
    preflight.check(output, overwrite=overwrite)
    attempt = Attempt(
        output=output, token=uuid.uuid4().hex[:12], command=tuple(command), overwrite=overwrite, started=now()
    )
    with (
        preflight.new_folders(output),
        held(output, attempt.token, attempt.started, remote_run.is_at_work),
    ):
        with preflight.attempt(attempt):
            rows = sum(record["counts"]["inputs"] for record in records)
            say(f"merging {counted(len(runs), 'run')} with {counted(rows, 'row')}")
            try:
                contents = _contents(attempt, runs, records)
            except StorageError as error:
                raise CommandFailed(str(error)) from error
        ignore_interrupts()  # `publish` removes the run that it replaces
        try:
            record = publish(attempt, lambda: contents)
        except StorageError as error:  # the attempt's files stay, so a rerun accepts the output
            raise CommandFailed(f"{error}; run the same command again to complete {output}") from error
        except UserError:
            preflight.abandon(attempt)
            raise
    folder = record["output"]
    print_summary(folder, verify(folder), output)


def _found(given: Sequence[str], output: str) -> list[str]:
    """Return the given run directories, and all those in the given folders. Raises StorageError, UserError."""
    runs: list[str] = []
    for path in given:
        if storage.is_file(f"{path}/{RUN_FILE}"):
            runs.append(path)
            continue
        inner = [f"{path}/{name}" for name in sorted(storage.folders(path) or ())]
        inside = [run for run in inner if run != output and storage.is_file(f"{run}/{RUN_FILE}")]
        if not inside:
            raise UserError(f"{path} is neither a run directory nor a folder of run directories: give another path")
        runs += inside
    if output in runs:
        raise UserError(f"--output {output} is one of the runs to merge: choose another folder")
    return runs


def _record(run: str) -> dict[str, Any]:
    """Return the content of ``run.json`` of a successful run. Raises StorageError, UserError."""
    if not storage.is_file(f"{run}/{SUCCESS_FILE}"):
        raise UserError(f"{run} has no {SUCCESS_FILE}: finish this run first by running its command again")
    try:
        record = verify(run)
    except CommandFailed as error:
        raise UserError(str(error)) from error
    if "merged_from" not in record:
        raise UserError(f"{run} was written by an older version and cannot be merged: classify it again")
    return record


def _check_together(runs: Sequence[str], records: Sequence[dict[str, Any]]) -> None:
    """Check that runs can be merged: same model and format, no duplicate input or shard, no missing shard.

    Raises:
        UserError: the runs cannot be merged.
    """
    for name, words in (("model_id", "model"), ("output_format", "output format")):
        found = {record[name]: run for run, record in zip(runs, records, strict=True)}
        if len(found) > 1:
            values = ", ".join(f"{value} in {run}" for value, run in list(found.items())[:_SHOWN])
            raise UserError(f"the runs have different {words}s: {values}")
    _refuse_twice("run", [(record["attempt"], run) for run, record in zip(runs, records, strict=True)])
    shards = [record["shard"] for record in records]
    if any(shards):
        _check_shards(runs, records)
    else:
        inputs = [(name, run) for run, record in zip(runs, records, strict=True) for name in record["input"]]
        _refuse_twice("input", inputs)


def _check_shards(runs: Sequence[str], records: Sequence[dict[str, Any]]) -> None:
    first = records[0]
    for run, record in zip(runs, records, strict=True):
        if not record["shard"] or not first["shard"]:
            whole = run if not record["shard"] else runs[0]
            raise UserError(f"{whole} is a complete run, but other runs are shards: merge each kind separately")
        if record["shard"]["count"] != first["shard"]["count"]:
            raise UserError(
                f"{run} is one of {record['shard']['count']} shards, but {runs[0]} is one of "
                f"{first['shard']['count']}: merge only runs with the same N in --shard I/N"
            )
        if record["input"] != first["input"]:
            own, other = (", ".join(one["input"]) for one in (record, first))
            raise UserError(
                f"{run} is a shard of {own}, but {runs[0]} is a shard of {other}: merge only shards of the same --input"
            )
        rows, digest = record["shard"]["rows"], record["shard"]["digest"]
        if (rows, digest) != (first["shard"]["rows"], first["shard"]["digest"]):
            raise UserError(
                f"{run} and {runs[0]} are shards of different rows, {rows:,} and {first['shard']['rows']:,}: the "
                "inputs or the flags for reading them have changed between the runs"
            )
    _refuse_twice("shard", [(record["shard"]["index"], run) for run, record in zip(runs, records, strict=True)])
    count = first["shard"]["count"]
    missing = sorted(set(range(1, count + 1)) - {record["shard"]["index"] for record in records})
    if missing:
        shown = ", ".join(f"{index}/{count}" for index in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        raise UserError(f"shards {shown}{more} are missing: classify them first")


def _refuse_twice(what: str, found: Sequence[tuple[object, str]]) -> None:
    """Check that no two runs share a value. Raises UserError."""
    first = dict[object, str]()
    for value, run in found:
        if value in first:
            raise UserError(
                f"{first[value]} and {run} both contain {what} {value}, so its rows would be duplicated: merge only "
                "one of them"
            )
        first[value] = run


def _contents(attempt: Attempt, runs: Sequence[str], records: Sequence[dict[str, Any]]) -> Contents:
    """Copy the parts of all runs to ``_temporary``, and return the contents of the new run directory.

    Raises:
        StorageError: a file cannot be read or copied.
        UserError: the columns of the runs differ.
        CommandFailed: a run has more or fewer rows than it counted, or a damaged file.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="merge") as pool:
        parts = [
            part
            for folder in (PREDICTIONS, DEAD_LETTERS, JOURNAL)
            for part in _parts(attempt, folder, runs, records, pool)
        ]
        stats = [_class_stats(run) for run in runs]
        class_stats, record = merged_class_stats(stats), merged_record(attempt, records)
        thumbnails = dict(found for found in pool.map(_thumbnail, _pictured(class_stats)) if found)
    page = report.run_page(record, class_stats, thumbnails, part_names(parts))
    return Contents(parts, record, class_stats, page)


def _parts(
    attempt: Attempt, folder: str, runs: Sequence[str], records: Sequence[dict[str, Any]], pool: ThreadPoolExecutor
) -> Iterator[Part]:
    """Copy the parts of a folder from all runs and yield the copies. Raises as `_contents` does."""
    files = [
        (run, file.location)
        for run in runs
        for file in storage.list_files(f"{run}/{folder}")
        if file.location.startswith(f"{run}/{folder}/part-")
    ]
    found = list(pool.map(lambda file: _columns_and_rows(file[1]), files))
    if len({columns for columns, _ in found}) > 1:
        one, other = list(dict.fromkeys(columns for columns, _ in found))[:2]
        differ = sorted(set(re.split(r"[,\n]", one)) ^ set(re.split(r"[,\n]", other)))
        how = (
            f"different columns in {folder} ({', '.join(differ[:_SHOWN])})"
            if differ
            else f"the columns in {folder} in other orders"
        )
        raise UserError(f"the runs have {how}: merge only runs with the same columns in the same order")
    if folder != JOURNAL:  # ``run.json`` does not count the rows of the journal
        rows = collections.Counter[str]()
        for (run, _), (_, count) in zip(files, found, strict=True):
            rows[run] += count
        for run, record in zip(runs, records, strict=True):
            counts = record["counts"]
            expected = counts["predictions"] if folder == PREDICTIONS else sum(counts["dead_letters"].values())
            if rows[run] != expected:
                actual = counted(rows[run], "row")
                raise CommandFailed(f"{run}/{folder} has {actual}, but its {RUN_FILE} counts {expected:,}")
    places = [
        f"{attempt.temporary}/{folder}-{number}.{path.rpartition('.')[2]}" for number, (_, path) in enumerate(files)
    ]
    storage.copy_all(zip((path for _, path in files), places, strict=True))
    for number, (place, (_, count)) in enumerate(zip(places, found, strict=True)):
        yield Part(folder, number, place, count, attempt.token)


def _class_stats(run: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(storage.read_text(f"{run}/{STATS_FILE}"))
        return content
    except ValueError as error:
        raise CommandFailed(f"{run}/{STATS_FILE} is damaged: {error}") from error


def _columns_and_rows(path: str) -> tuple[str, int]:
    try:
        return columns_and_rows(path)
    except ValueError as error:
        raise CommandFailed(f"{path} is damaged: {error}") from error


def _pictured(class_stats: Mapping[str, Any]) -> Iterator[str]:
    classes = class_stats["classes"].values()
    found = ((own["count"], [photo["location"] for photo in own["surest"] + own["least_sure"]]) for own in classes)
    return report.pictured(found)


def _thumbnail(location: str) -> tuple[str, bytes] | None:
    try:
        content = storage.read(location, DEFAULT_LIMITS.max_bytes)
    except (StorageError, UserError):  # deleted, or not readable from this machine
        return None
    assert content is not None
    return report.thumbnail(FetchedImage(ListedImage(location, ()), content.data, "", None), limits=DEFAULT_LIMITS)
