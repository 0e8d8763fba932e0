from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from catalogue.cli.console import CommandFailed, UserError
from catalogue.model_dir import directory as model_dir
from pipeline import classify
from pipeline.metering import meter
from pipeline.records import Chunk, ClassStats, EngineChoice
from pipeline.run_dir import output


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> output.Run:
    info = model_dir.read(tiny_model).info
    command = ("python", "-m", "pipeline")
    return output.Run(
        str(tmp_path / "run"), "token", command, ("in",), "model", info, "jsonl", 5, 0.05, 3.6, False, output.now()
    )


def chunk(run: output.Run, folder: str, name: str, count: int) -> Chunk:
    path = Path(run.temporary, f"{folder}-{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"uri": f"{name}/{number}"}) + "\n" for number in range(count)))
    return Chunk(folder, str(path), count)


def results(inputs: int) -> dict[str, Any]:
    """What a run has found besides its rows."""
    return {
        "inputs": inputs,
        "duplicates": 0,
        "stats": {},
        "dead_letters": {},
        "thumbnails": {},
        "columns": pa.schema([]),
        "measured": meter.NOTHING,
    }


def commit(run: output.Run, predictions: int, letters: int, **changes: Any) -> dict[str, Any]:
    chunks = [chunk(run, "predictions", "b", predictions - 1), chunk(run, "predictions", "a", 1)]
    if letters:
        chunks.append(chunk(run, "dead_letters", "c", letters))
    histogram = (0,) * 19 + (predictions,)
    given = results(predictions + letters) | {
        "stats": {"hat": ClassStats(predictions, predictions * 0.99, histogram, (), ())},
        "dead_letters": {"corrupt": (letters, (("c/0", "torn"),))} if letters else {},
    }
    return output.commit(run, chunks=chunks, **given | changes)


def test_where_the_time_went_and_what_it_cost(run: output.Run) -> None:
    """Of 2,000 images in 200 s, half of that before the first prediction, at 3.6 an hour."""
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=200)
    run = dataclasses.replace(run, started=began.isoformat(timespec="milliseconds"))
    engine = EngineChoice("openvino", "bfloat16", "CPU", "asked for")
    seconds = {"reading": 1.0, "decoding": 50.0, "inference": 120.0, "all": 180.0}
    measured = meter.Measurement(
        seconds, {3: 1, 16: 124}, {engine: 1987}, 5 * 2**20, frozenset({"a:1", "a:2"}), began.timestamp() + 100
    )
    record = commit(run, 1990, 10, measured=measured)
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


def test_without_a_price_and_without_an_image_that_could_be_read(run: output.Run) -> None:
    record = commit(dataclasses.replace(run, price_per_hour=None), 1, 0)
    assert record["cost_per_million_images"] is None
    assert record["cost_per_million_images_from_then_on"] is None
    assert record["timings"]["first_prediction_seconds"] is None
    assert record["timings"]["images_per_second_from_then_on"] is None


@pytest.mark.parametrize(
    ("price", "cost"), [(3.6, "at 3.6 an hour a million images cost "), (0.0, "at 0 an hour"), (None, "")]
)
def test_what_it_cost_is_said_only_where_there_is_a_price(run: output.Run, price: float | None, cost: str) -> None:
    """And without a prediction, so that nobody knows when the run had started up."""
    record = commit(dataclasses.replace(run, price_per_hour=price), 1, 0)
    *_, last = classify._performance(record)
    if cost:
        assert last.startswith(cost)
        assert "start-up" not in last
    else:
        assert "a million" not in last


def test_a_balanced_run_is_a_success(run: output.Run) -> None:
    record = commit(run, 97, 3)
    folder = Path(run.output)
    names = {file.name for file in folder.iterdir()}
    assert names == {"predictions", "dead_letters", "class_stats.json", "run.json", "report.html", "_SUCCESS"}
    parts = [file.name for file in sorted((folder / "predictions").iterdir())]
    assert parts == ["part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"]
    assert json.loads((folder / "run.json").read_text()) == record
    assert record["counts"] == {
        "inputs": 100, "predictions": 97, "dead_letters": {"corrupt": 3}, "duplicates": 0, "reused": 0,
    }  # fmt: skip
    assert record["status"] == "succeeded"
    stats = json.loads((folder / "class_stats.json").read_text())
    assert stats["totals"] == {"predictions": 97, "dead_letters": 3, "inputs": 100}
    assert stats["classes"]["hat"]["share"] == 1.0
    assert stats["classes"]["hat"]["mean_score"] == pytest.approx(0.99)
    assert stats["classes"]["shoes"] == {
        "count": 0, "share": 0.0, "mean_score": None, "score_histogram": None,
        "share_in_training": run.model.class_shares["shoes"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("letters", "changes", "words"),
    [
        (0, {"inputs": 101}, "do not balance: 101 inputs, 100 predictions"),
        (0, {"inputs": 99}, "do not balance"),
        (3, {"dead_letters": {"corrupt": (2, (("c/0", "torn"),))}}, "do not balance"),
        (6, {}, "6 of 106 images failed"),
    ],
)
def test_a_run_that_does_not_balance_or_failed_too_often_is_none(
    run: output.Run, letters: int, changes: dict[str, Any], words: str
) -> None:
    record = commit(run, 100, letters, **changes)
    assert record["status"] == "failed"
    assert words in record["problems"][0]
    assert not Path(run.output, "_SUCCESS").exists()
    assert Path(run.output, "run.json").exists()
    assert sum(len(part.read_text().splitlines()) for part in Path(run.output).glob("predictions/*")) == 100


def test_the_limit_of_failures_may_be_reached_but_not_passed(run: output.Run) -> None:
    assert commit(run, 95, 5)["status"] == "succeeded"


def test_there_is_a_part_even_without_rows(run: output.Run) -> None:
    commit(run, 10, 0)
    (part,) = Path(run.output, "dead_letters").iterdir()
    assert (part.name, part.read_bytes()) == ("part-00000-of-00001.jsonl", b"")


def test_nothing_of_the_run_before_is_left(run: output.Run) -> None:
    commit(run, 10, 0)
    Path(run.output, "predictions/part-00007-of-00009.jsonl").write_text("{}\n")
    commit(dataclasses.replace(run, token="the next", overwrite=True), 20, 1)
    parts = [file.name for file in sorted(Path(run.output, "predictions").iterdir())]
    assert parts == ["part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"]


@pytest.mark.parametrize("step", range(12))
def test_a_commit_that_failed_at_any_step_and_is_tried_again_ends_the_same(
    run: output.Run, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """One call to the storage fails once; the runner calls the last step again with the same files."""
    given = results(10)
    chunks = [chunk(run, "predictions", "a", 10)]
    calls: list[str] = []

    def failing(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            calls.append(function.__name__)
            if len(calls) == step + 1:
                raise OSError("the network is away")
            function(*arguments)

        return call

    for name in ("write_text", "copy_within", "remove"):
        monkeypatch.setattr(output.storage, name, failing(getattr(output.storage, name)))
    with pytest.raises(OSError, match="away"):
        output.commit(run, chunks=chunks, **given)
    assert not Path(run.output, "_SUCCESS").exists()
    record = output.commit(run, chunks=chunks, **given)
    assert record["status"] == "succeeded"
    (part,) = Path(run.output, "predictions").iterdir()
    assert len(part.read_text().splitlines()) == 10


def test_of_two_runs_in_one_place_one_stays_whole(
    run: output.Run, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    other = dataclasses.replace(run, token="other")
    mine, its = chunk(run, "predictions", "mine", 10), chunk(other, "predictions", "its", 10)
    given = results(10)
    output.commit(other, chunks=[its], **given)
    before = contents(Path(run.output))
    with pytest.raises(UserError, match="another run has finished in"):
        output.commit(run, chunks=[mine], **given)
    with pytest.raises(UserError, match="has removed files of this one"):
        output.commit(dataclasses.replace(run, overwrite=True), chunks=[mine], **given)
    assert contents(Path(run.output)) == before


def test_what_may_be_written_to(run: output.Run, tmp_path: Path) -> None:
    output.check(str(tmp_path / "new"), overwrite=False)
    (tmp_path / "empty").mkdir()
    output.check(str(tmp_path / "empty"), overwrite=False)
    chunk(run, "predictions", "killed", 3)
    (Path(run.temporary) / "started").touch()
    output.check(run.output, overwrite=False)  # an attempt that was killed
    commit(run, 10, 10)
    output.check(run.output, overwrite=False)  # a run that was no success
    commit(dataclasses.replace(run, token="next"), 10, 0)
    output.check(run.output, overwrite=True)
    with pytest.raises(UserError, match="holds a finished run: choose another folder or give --overwrite"):
        output.check(run.output, overwrite=False)


STRANGERS = {
    "another program's run.json": {"run.json": '{"lr": 1}', "report.html": "mine"},
    "what Spark leaves": {"_SUCCESS": "", "part-00000.parquet": "rows"},
    "what Hadoop leaves behind": {"_temporary/0/task/part-00000": "rows"},
    "notes": {"notes.txt": "mine"},
    "no JSON": {"run.json": "{"},
}


@pytest.mark.parametrize("case", STRANGERS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_looks_like_a_run_is_none(tmp_path: Path, case: str, overwrite: bool) -> None:
    for name, content in STRANGERS[case].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="is no run directory"):
        output.check(str(tmp_path), overwrite=overwrite)


def test_files_of_others_among_the_parts_are_never_deleted(run: output.Run) -> None:
    commit(run, 10, 0)
    Path(run.output, "predictions/by_hand.csv").write_text("mine")
    with pytest.raises(UserError, match="is no run directory"):
        output.check(run.output, overwrite=True)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("run.json", "has not finished"),
        ("_SUCCESS", "does not agree with _SUCCESS"),
        ("predictions/part-00001-of-00002.jsonl", "parts of predictions are missing"),
        ("dead_letters/part-00000-of-00001.jsonl", "parts of dead_letters are missing"),
        ("class_stats.json", r"class_stats\.json missing"),
    ],
)
def test_a_run_directory_that_is_not_whole_is_refused(run: output.Run, lost: str, words: str) -> None:
    record = commit(run, 10, 0)
    assert output.verify(run.output) == record
    Path(run.output, lost).unlink()
    with pytest.raises(CommandFailed, match=words):
        output.verify(run.output)


def test_a_job_that_runs_elsewhere_keeps_its_files(run: output.Run) -> None:
    with pytest.raises(KeyboardInterrupt), output.attempt(run, here=False):
        raise KeyboardInterrupt
    assert Path(run.temporary, "started").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_never_written_to(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    with pytest.raises(UserError, match="is no run directory"):
        output.check(str(tmp_path), overwrite=overwrite)
    with pytest.raises(UserError, match="is a file"):
        output.check(str(tmp_path / "photos/a.jpg"), overwrite=overwrite)


def test_an_attempt_that_failed_leaves_nothing(run: output.Run, tmp_path: Path) -> None:
    run = dataclasses.replace(run, output=f"{run.output}/deep/er")

    def fail() -> None:
        chunk(run, "predictions", "a", 3)
        raise RuntimeError

    with pytest.raises(RuntimeError), output.attempt(run, here=True):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_attempt_that_failed_touches_no_neighbour(run: output.Run) -> None:
    other = Path(run.output, "_temporary/other/predictions-1.jsonl")
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(RuntimeError), output.attempt(run, here=True):
        raise RuntimeError
    assert other.exists()
    assert not Path(run.temporary).exists()


def test_an_output_that_cannot_be_written(run: output.Run, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"), output.attempt(run, here=True):
        pass
