from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from catalogue.cli.errors import CommandFailed, UserError
from catalogue.reasons import Reason, StorageError
from catalogue.storage import operations
from catalogue.storage.paths import temporary_name
from pipeline.metering.measurement import Measurement
from pipeline.records import EngineChoice, Part
from pipeline.run_dir.commit import commit, has_finished
from pipeline.run_dir.lock import Holder
from pipeline.run_dir.preflight import check
from pipeline.run_dir.run import Run
from pipeline.run_dir.verify import verify
from tests.pipeline.conftest import statistics_of, take_lock

Commit = Callable[..., dict[str, Any]]
MakePart = Callable[..., Part]


def test_where_the_time_went_and_what_it_cost(commit_rows: Commit, run: Run) -> None:
    """2,000 images take 200 s, half of that time before the first prediction, at a price of 3.6 per hour."""
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=200)
    run = dataclasses.replace(run, started=began.isoformat(timespec="milliseconds"))
    engine = EngineChoice("openvino", "bfloat16", "CPU", "requested")
    seconds = {"reading": 1.0, "decoding": 50.0, "inference": 120.0, "all": 180.0}
    measured = Measurement(
        seconds, {3: 1, 16: 124}, {engine: 1987}, 5 * 2**20, frozenset({"a:1", "a:2"}), began.timestamp() + 100
    )
    record = commit_rows(run, 1990, 10, measured=measured)
    timings = record["timings"]
    assert timings["worker_seconds"] == {"reading": 1.0, "decoding": 50.0, "inference": 120.0, "rest": 9.0}
    assert timings["images_per_second"] == pytest.approx(10, rel=0.05)
    assert timings["first_prediction_seconds"] == pytest.approx(100, abs=0.1)
    assert timings["images_per_second_from_then_on"] == pytest.approx(20, rel=0.05)
    assert record["cost_per_million_images"] == pytest.approx(100, rel=0.05)
    assert record["cost_per_million_images_from_then_on"] == pytest.approx(50, rel=0.05)
    assert (record["workers"], record["peak_worker_memory_bytes"]) == (2, 5 * 2**20)
    assert record["batches"] == {"16": 124, "3": 1}
    assert record["engines"] == [dataclasses.asdict(engine) | {"images": 1987}]


def test_without_a_price_and_without_an_image_that_could_be_read(commit_rows: Commit, run: Run) -> None:
    record = commit_rows(dataclasses.replace(run, price_per_hour=None), 1, 0)
    assert record["cost_per_million_images"] is None
    assert record["cost_per_million_images_from_then_on"] is None
    assert record["timings"]["first_prediction_seconds"] is None
    assert record["timings"]["images_per_second_from_then_on"] is None


def test_a_balanced_run_is_a_success(commit_rows: Commit, run: Run) -> None:
    record = commit_rows(run, 97, 3)
    folder = Path(run.output)
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "predictions",
        "dead_letters",
        "journal",
        "class_stats.json",
        "run.json",
        "report.html",
        "metrics.prom",
        "_SUCCESS",
    }
    parts = [file.name for file in sorted((folder / "predictions").iterdir())]
    assert parts == ["part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"]
    assert json.loads((folder / "run.json").read_text()) == record
    assert record["counts"] == {
        "inputs": 100, "predictions": 97, "dead_letters": {"corrupt": 3}, "duplicates": 0,
        "classified": 97, "identical": 0, "reused": {"unread": 0, "conditional": 0, "content": 0}, "retried": 0,
        "left_out": {"hidden_files": 0, "rows_without_uri": 0},
    }  # fmt: skip
    assert record["status"] == "succeeded"
    stats = json.loads((folder / "class_stats.json").read_text())
    assert stats["totals"] == {"predictions": 97, "dead_letters": 3, "inputs": 100}
    assert stats["classes"]["hat"]["share"] == 1.0
    assert stats["classes"]["hat"]["surest"][0] == {"uri": "0", "location": "a", "score": 0.99}
    assert record["dead_letter_examples"]["corrupt"][0] == {"uri": "0", "message": ""}
    assert stats["classes"]["hat"]["mean_score"] == pytest.approx(0.99)
    assert stats["classes"]["shoes"] == {
        "count": 0, "share": 0.0, "mean_score": None, "score_histogram": None,
        "share_in_training": run.model.class_shares["shoes"], "surest": [], "least_sure": [],
    }  # fmt: skip


def test_statistics_of_other_rows_are_no_success(commit_rows: Commit, run: Run) -> None:
    """An engine may compute the rows in one attempt and their statistics in another."""
    statistics = statistics_of(97, 3)
    statistics.merge(statistics_of(1, 0))
    record = commit_rows(run, 97, 3, statistics=statistics)
    assert record["status"] == "failed"
    assert "97 prediction rows, but statistics of 98 predictions" in record["problems"][0]
    assert not (Path(run.output) / "_SUCCESS").exists()


def test_a_job_that_is_started_again_after_its_end_changes_nothing(
    commit_rows: Commit, run: Run, part: MakePart, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    record = commit_rows(run, 97, 3)
    (Path(run.output) / "_lock").unlink(missing_ok=True)  # its command has ended
    before = contents(Path(run.output))
    part(run, "predictions", 0, 5)
    assert has_finished(run)
    assert commit(run) == record
    assert contents(Path(run.output)) == before
    (Path(run.output) / "_SUCCESS").unlink()
    assert not has_finished(run)


@pytest.mark.parametrize(
    ("letters", "changes", "words"),
    [
        (0, {"inputs": 101}, "do not balance: 101 inputs, 100 predictions"),
        (0, {"inputs": 99}, "do not balance"),
        (3, {"statistics": statistics_of(100, 2)}, "do not balance"),
        (6, {}, "6 of 106 images failed"),
    ],
)
def test_a_run_that_does_not_balance_or_failed_too_often_gets_no_success_file(
    commit_rows: Commit, run: Run, letters: int, changes: dict[str, Any], words: str
) -> None:
    record = commit_rows(run, 100, letters, **changes)
    assert record["status"] == "failed"
    assert words in record["problems"][0]
    assert not Path(run.output, "_SUCCESS").exists()
    assert Path(run.output, "run.json").exists()
    assert sum(len(part.read_text().splitlines()) for part in Path(run.output).glob("predictions/*")) == 100


def test_the_limit_of_failures_may_be_reached_but_not_passed(commit_rows: Commit, run: Run) -> None:
    assert commit_rows(run, 95, 5)["status"] == "succeeded"


@pytest.mark.parametrize("case", ["missing", "twice", "of other chunks"])
def test_parts_of_two_computations_are_never_a_run(
    results: Callable[..., dict[str, Any]], part: MakePart, run: Run, case: str
) -> None:
    """An engine that loses a machine may recompute chunks and only some of the parts, with unchanged row counts."""
    take_lock(run)
    parts = [part(run, "predictions", number, 5) for number in range(3)]
    wrong = {
        "missing": [parts[0], parts[2]],
        "twice": [parts[0], parts[0]],
        "of other chunks": [parts[0], dataclasses.replace(parts[1], digest="another")],
    }
    with pytest.raises(CommandFailed, match="parts of two computations"):
        commit(run, parts=wrong[case], **results(10))
    assert not Path(run.output, "run.json").exists()


def test_nothing_is_left_of_a_file_that_a_killed_commit_was_writing(
    run: Run, commit_rows: Callable[..., dict[str, Any]]
) -> None:
    Path(run.output).mkdir(exist_ok=True)
    (Path(run.output) / temporary_name()).write_text("half")
    commit_rows(run, 97, 3)
    assert not [file for file in Path(run.output).iterdir() if file.name.startswith(".")]


def test_nothing_of_the_run_before_is_left(commit_rows: Commit, run: Run) -> None:
    commit_rows(run, 10, 0)
    Path(run.output, "predictions/part-00007-of-00009.jsonl").write_text("{}\n")
    commit_rows(dataclasses.replace(run, token="next", overwrite=True), 20, 1)
    parts = [file.name for file in sorted(Path(run.output, "predictions").iterdir())]
    assert parts == ["part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"]


@pytest.mark.parametrize("step", range(12))
def test_a_commit_that_failed_at_any_step_and_is_tried_again_ends_the_same(
    results: Callable[..., dict[str, Any]], part: MakePart, run: Run, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """One storage call fails once; the runner repeats the last step with the same files."""
    given = results(10)
    take_lock(run)
    parts = [part(run, "predictions", 0, 10), part(run, "dead_letters", 0, 0)]
    calls: list[str] = []

    def failing(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            calls.append(function.__name__)
            if len(calls) == step + 1:
                raise StorageError(Reason.READ_FAILED, "the network is away")
            function(*arguments)

        return call

    for module, name in ((storage, "write_text"), (operations, "copy"), (storage, "remove")):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    with pytest.raises(StorageError, match="away"):
        commit(run, parts=parts, **given)
    assert not Path(run.output, "_SUCCESS").exists()
    record = commit(run, parts=parts, **given)
    assert record["status"] == "succeeded"
    (placed,) = Path(run.output, "predictions").iterdir()
    assert len(placed.read_text().splitlines()) == 10


def test_a_run_that_failed_does_not_replace_a_finished_one(
    commit_rows: Commit, run: Run, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    commit_rows(run, 10, 0)
    before = contents(Path(run.output))
    run = dataclasses.replace(run, token="next", overwrite=True)
    record = commit_rows(run, 10, 10)
    assert (record["status"], record["output"]) == ("failed", f"{run.output}/_failed")
    after = contents(Path(run.output))
    assert {name: content for name, content in after.items() if not name.startswith("_failed/")} == before
    assert verify(f"{run.output}/_failed") == record
    assert verify(run.output)["status"] == "succeeded"
    check(run.output, overwrite=True)
    commit_rows(dataclasses.replace(run, token="third"), 20, 0)
    assert not Path(run.output, "_failed").exists()
    assert verify(run.output)["counts"]["predictions"] == 20


class Killed(BaseException):
    """Stand-in for the death of a process: an exception that no code catches."""


@pytest.mark.parametrize("step", range(16))
def test_a_swap_that_is_killed_at_any_step_is_completed_by_the_next_attempt(
    part: MakePart, results: Callable[..., dict[str, Any]], commit_rows: Commit, run: Run,
    monkeypatch: pytest.MonkeyPatch, step: int,
) -> None:  # fmt: skip
    """The finished run loses ``_SUCCESS`` first, so that a half-finished swap never looks complete."""
    commit_rows(run, 7, 0)
    first = dataclasses.replace(run, token="1" * 12, overwrite=True)
    storage.write_text(f"{first.temporary}/started", "")
    calls: list[str] = []

    def killing(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            calls.append(function.__name__)
            if len(calls) == step + 1:
                raise Killed
            function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((storage, "write_text"), (operations, "copy"), (storage, "remove")):
            patch.setattr(module, name, killing(getattr(module, name)))
        storage.write_bytes(
            f"{run.output}/_lock", json.dumps(dataclasses.asdict(Holder.here(first.token, ""))).encode()
        )
        parts = [part(first, "predictions", n, 5) for n in range(2)] + [part(first, "dead_letters", 0, 0)]
        with pytest.raises(Killed):
            commit(first, parts=parts, **results(10))
    if Path(run.output, "_SUCCESS").exists():
        assert verify(run.output)["counts"]["predictions"] == 7
    check(run.output, overwrite=True)
    record = commit_rows(dataclasses.replace(run, token="2" * 12, overwrite=True), 10, 0)
    assert verify(run.output) == record
    lines = [line for file in Path(run.output, "predictions").iterdir() for line in file.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 10
    assert not Path(run.output, "_temporary").exists()


def test_two_runs_into_one_directory_leave_one_complete_run(
    results: Callable[..., dict[str, Any]], part: MakePart, run: Run, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    """A run that has lost the lock to another run tries to commit."""
    other = dataclasses.replace(run, token="other")
    mine, its = part(run, "predictions", 0, 10), part(other, "predictions", 0, 10)
    given = results(10)
    take_lock(other)
    with pytest.raises(UserError, match=r"process \d+ on .* has taken over"):
        commit(run, parts=[mine], **given)
    commit(other, parts=[its], **given)
    before = contents(Path(run.output))
    for zombie in (run, dataclasses.replace(run, overwrite=True)):
        with pytest.raises(UserError, match="has taken over"):
            commit(zombie, parts=[mine], **given)
    storage.remove(f"{run.output}/_lock")
    with pytest.raises(UserError, match="another run has taken over"):
        commit(run, parts=[mine], **given)
    take_lock(run)
    with pytest.raises(UserError, match="another run has finished in"):
        commit(run, parts=[mine], **given)
    storage.remove(f"{run.output}/_lock")
    assert contents(Path(run.output)) == {name: data for name, data in before.items() if name != "_lock"}


def parts_of(part: MakePart, run: Run, count: int) -> list[Part]:
    """Return `count` parts of five predictions each, and an empty part for each other folder of the run."""
    predictions = [part(run, "predictions", number, 5) for number in range(count)]
    return [*predictions, part(run, "dead_letters", 0, 0), part(run, "journal", 0, 0)]


@pytest.mark.parametrize("race", range(60))
def test_two_commits_at_the_same_time_end_in_one_whole_run(
    results: Callable[..., dict[str, Any]], part: MakePart, run: Run, monkeypatch: pytest.MonkeyPatch, race: int
) -> None:
    """Copies are delayed, and in the middle of one commit a second run takes the lock and commits, too."""
    chance = random.Random(race)
    copy, moment, copies = operations.copy, chance.randrange(6), itertools.count()
    runs = [dataclasses.replace(run, token=f"{n}" * 12, overwrite=chance.random() < 0.5) for n in range(2)]
    parts = [parts_of(part, own, 4 + 2 * number) for number, own in enumerate(runs)]

    def slow(source: str, target: str) -> None:
        if next(copies) == moment:
            take_lock(runs[1])
            taken.set()
        time.sleep(chance.random() / 500)
        copy(source, target)

    def go(number: int) -> None:
        if number == 1:
            taken.wait(10)
        with contextlib.suppress(UserError):
            commit(runs[number], parts=parts[number], **results(5 * (len(parts[number]) - 2)))
            ended.append(number)

    ended, taken = list[int](), threading.Event()
    monkeypatch.setattr(operations, "copy", slow)
    take_lock(runs[0])
    threads = [threading.Thread(target=go, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [1]
    record = verify(run.output)
    assert record["attempt"] == runs[1].token
    lines = [line for file in Path(run.output, "predictions").iterdir() for line in file.read_text().splitlines()]
    assert len(lines) == record["counts"]["predictions"]
    assert Path(run.output, "_SUCCESS").exists()


@pytest.mark.parametrize("letters", [0, 20])
def test_the_lock_that_a_command_has_left_stays_if_its_run_failed(
    run: Run, part: MakePart, results: Callable[..., dict[str, Any]], letters: int
) -> None:
    """``--attach`` uses the lock to distinguish the failed run from a finished one in the same place."""
    take_lock(run)
    lock = Path(run.output) / "_lock"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"beat": 0.0}))
    parts = [
        part(run, "predictions", 0, 20),
        part(run, "dead_letters", 0, letters),
        part(run, "journal", 0, 20 + letters),
    ]
    record = commit(run, parts=parts, **results(20, letters))
    assert (record["status"], lock.exists()) == (("failed", True) if letters else ("succeeded", False))
