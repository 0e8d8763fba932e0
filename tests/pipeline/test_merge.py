"""Shards of a manifest are classified separately and merged; the result is compared with an undivided run."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalogue.reasons import Reason, StorageError
from pipeline.__main__ import main
from pipeline.records import OUTPUT_FORMATS, Part, Shard, row_key
from pipeline.run_dir import commit
from pipeline.run_dir.verify import verify

Classify = Callable[..., int]
COUNT = 3
FLOAT32 = ["--engine", "tensorflow", "--precision", "float32"]


def merge(*words: object) -> int:
    return main(["merge", *map(str, words)])


def rows_in(run: Path, folder: str) -> list[str]:
    """Return rows with rounded scores, because the last digits depend on the batch."""

    def rounded(value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(r"0\.\d+", value):
            return round(float(value), 3)
        if isinstance(value, float):
            return round(value, 3)
        if isinstance(value, dict):
            return {name: rounded(inner) for name, inner in value.items()}
        return [rounded(inner) for inner in value] if isinstance(value, list) else value

    rows = [row for part in (run / folder).iterdir() for row in READERS[part.suffix](part)]
    return sorted(json.dumps(rounded(row), sort_keys=True, default=str) for row in rows)


READERS: dict[str, Callable[[Path], list[Any]]] = {
    ".jsonl": lambda part: list(map(json.loads, part.read_text().splitlines())),
    ".csv": lambda part: list(csv.DictReader(part.read_text().splitlines())),
    ".parquet": lambda part: pq.read_table(part).to_pylist(),
}


@pytest.fixture(scope="module")
def catalogue(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV list of photos: some are listed twice, one is damaged, one is missing, and three rows have no URI."""
    folder = tmp_path_factory.mktemp("catalogue")
    photos = sorted(map(str, drawn.rglob("*.jpg")))
    (folder / "damaged.jpg").write_bytes(Path(photos[0]).read_bytes()[:400])
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "sku", "price"])
        for number, uri in enumerate([*photos, *photos[:8], "damaged.jpg", "missing.jpg", "", "", ""]):
            writer.writerow([uri, f"sku {number}", number / 4])
    return folder / "list.csv"


@pytest.fixture(scope="module")
def runs(
    classify: Classify, tiny_model: Path, catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, list[Path]]]:
    """An undivided run and the runs of all shards, for each output format."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for kind in OUTPUT_FORMATS:
        flags = ["--output-format", kind, "--max-failure-rate", 1, "--price-per-hour", 2, *FLOAT32]
        assert classify(catalogue, tiny_model, folder / kind / "whole", *flags) == 0
        shards = [folder / kind / "shards" / str(index) for index in range(1, COUNT + 1)]
        for index, shard in enumerate(shards, start=1):
            assert classify(catalogue, tiny_model, shard, *flags, "--shard", f"{index}/{COUNT}") == 0
        found[kind] = folder / kind / "whole", shards
    return found


@pytest.mark.parametrize("kind", OUTPUT_FORMATS)
def test_merged_shards_are_the_undivided_run(
    runs: dict[str, tuple[Path, list[Path]]], tmp_path: Path, kind: str
) -> None:
    whole, shards = runs[kind]
    run = tmp_path / "merged"
    assert merge(*shards, "--output", run) == 0
    for folder in ("predictions", "dead_letters"):
        assert rows_in(run, folder) == rows_in(whole, folder)
    records = [verify(str(path)) for path in (run, whole)]
    merged, undivided = (record["counts"] for record in records)
    assert merged == undivided
    assert merged["inputs"] == 49
    assert merged["duplicates"] == 8  # all rows of an image are in one shard
    assert all(verify(str(shard))["counts"]["inputs"] for shard in shards)
    stats, expected = (json.loads((path / "class_stats.json").read_text()) for path in (run, whole))
    assert stats["totals"] == expected["totals"]
    for label, own in stats["classes"].items():
        assert own["count"] == expected["classes"][label]["count"]
        assert own["score_histogram"] == expected["classes"][label]["score_histogram"]
        assert own["mean_score"] == pytest.approx(expected["classes"][label]["mean_score"], abs=1e-4)
        assert [photo["uri"] for photo in own["surest"]] == [
            photo["uri"] for photo in expected["classes"][label]["surest"]
        ]
    assert {reason: len(found) for reason, found in records[0]["dead_letter_examples"].items()} == {
        reason: len(found) for reason, found in records[1]["dead_letter_examples"].items()
    }
    assert (run / "report.html").read_text().count("data:image/jpeg") == (
        (whole / "report.html").read_text().count("data:image/jpeg")
    )
    assert {file.name for file in run.iterdir()} == {file.name for file in whole.iterdir()}
    linked = re.findall(r'href="(dead_letters/[^"]*)"', (run / "report.html").read_text())
    assert linked == sorted(str(file.relative_to(run)) for file in (run / "dead_letters").iterdir())


def test_what_run_json_says_of_a_merged_run(runs: dict[str, tuple[Path, list[Path]]], tmp_path: Path) -> None:
    run, (_, shards) = tmp_path / "merged", runs["jsonl"]
    assert merge(shards[0].parent, "--output", run) == 0  # a folder of runs
    record, parts = verify(str(run)), [verify(str(shard)) for shard in shards]
    assert record["merged_from"] == [
        {"output": str(shard), "attempt": part["attempt"], "shard": part["shard"]}
        for shard, part in zip(shards, parts, strict=True)
    ]
    assert record["shard"] is None
    assert [part["shard"]["index"] for part in parts] == [1, 2, 3]
    assert {(part["shard"]["count"], part["shard"]["rows"]) for part in parts} == {(COUNT, 49)}
    assert record["command"][:4] == ["python", "-m", "pipeline", "merge"]
    timings = record["timings"]
    assert timings["started"] == parts[0]["timings"]["started"]
    assert timings["finished"] == parts[-1]["timings"]["finished"]
    own = sum(part["timings"]["seconds"] for part in parts)
    assert timings["seconds"] == pytest.approx(own, abs=0.1)  # sequential runs, without the time between them
    assert sum(engine["images"] for engine in record["engines"]) == sum(
        engine["images"] for part in parts for engine in part["engines"]
    )
    assert record["workers"] == COUNT
    assert record["price_per_hour"] == 2 * COUNT
    assert record["cost_per_million_images"] == pytest.approx(
        sum(part["timings"]["seconds"] for part in parts) / 3600 * 2 / 49 * 1e6
    )


def test_a_later_run_reuses_a_merged_one(
    classify: Classify, runs: dict[str, tuple[Path, list[Path]]], tiny_model: Path, catalogue: Path, tmp_path: Path
) -> None:
    assert merge(*runs["jsonl"][1], "--output", tmp_path / "merged") == 0
    flags = ["--previous", tmp_path / "merged", "--max-failure-rate", 1, *FLOAT32]
    assert classify(catalogue, tiny_model, tmp_path / "next", *flags) == 0
    counts = verify(str(tmp_path / "next"))["counts"]
    # All 49 rows except the row of the missing photo and the three rows without a URI.
    assert (counts["classified"], counts["reused"]["unread"]) == (0, 45)


def test_runs_of_different_inputs(classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    folders = sorted(folder for folder in drawn.iterdir() if folder.is_dir())
    for folder in folders:
        assert classify(folder, tiny_model, tmp_path / "runs" / folder.name, "--engine", "tensorflow") == 0
    assert merge(tmp_path / "runs", "--output", tmp_path / "runs/all") == 0
    record = verify(str(tmp_path / "runs/all"))
    assert (record["counts"]["predictions"], record["input"]) == (36, [str(folder) for folder in folders])
    # The folder now contains the merged run, too. --overwrite replaces it, but never treats it as one of the parts.
    assert merge(tmp_path / "runs", "--output", tmp_path / "runs/all") == 2
    assert merge(tmp_path / "runs", "--output", tmp_path / "runs/all", "--overwrite") == 0
    assert verify(str(tmp_path / "runs/all"))["counts"] == record["counts"]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert merge(*words) == 2
    return capsys.readouterr().err


def test_runs_that_do_not_belong_together(
    classify: Classify, runs: dict[str, tuple[Path, list[Path]]], tiny_model: Path, drawn: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole, shards = runs["jsonl"]
    output = ["--output", tmp_path / "merged"]
    assert "shards 2/3 are missing: classify them first" in refused(capsys, shards[0], shards[2], *output)
    assert "both contain run" in refused(capsys, *shards, shards[1], *output)
    shutil.copytree(shards[0], tmp_path / "copy")
    assert "both contain run" in refused(capsys, *shards, tmp_path / "copy", *output)
    assert "is a complete run, but other runs are shards" in refused(capsys, *shards, whole, *output)
    assert "the runs have different output formats" in refused(capsys, shards[0], runs["csv"][1][1], *output)
    assert "is neither a run directory nor a folder of run directories" in refused(capsys, drawn, *output)
    assert "is one of the runs to merge" in refused(capsys, *shards, "--output", shards[0])
    flags = ["--engine", "tensorflow", "--max-failure-rate", 1]
    assert classify(drawn, tiny_model, tmp_path / "other", *flags, "--shard", "2/3") == 0
    assert "merge only shards of the same --input" in refused(capsys, shards[0], tmp_path / "other", shards[2], *output)
    assert classify(drawn, tiny_model, tmp_path / "of two", *flags, "--shard", "2/2") == 0
    assert "is one of 2 shards" in refused(capsys, *shards, tmp_path / "of two", *output)
    assert classify(drawn, tiny_model, tmp_path / "a", *flags) == 0
    assert classify(drawn, tiny_model, tmp_path / "b", *flags) == 0
    assert "both contain input" in refused(capsys, tmp_path / "a", tmp_path / "b", *output)
    (tmp_path / "b/_SUCCESS").unlink()
    assert "has no _SUCCESS: finish this run first" in refused(capsys, tmp_path / "a", tmp_path / "b", *output)
    assert not (tmp_path / "merged").exists()


def test_shards_of_a_list_that_has_changed_in_between(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [file.name for file in sorted((drawn / "hat").iterdir())]
    runs, photos = tmp_path / "runs", tmp_path / "photos.txt"
    for index in (1, 2):
        photos.write_text("".join(f"{name}\n" for name in names[index:]))
        flags = ["--shard", f"{index}/2", "--base-uri", drawn / "hat", "--engine", "tensorflow"]
        assert classify(photos, tiny_model, runs / str(index), *flags) == 0
    assert "are shards of different rows, 10 and 11" in refused(capsys, runs, "--output", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_merge_whose_disk_fails_is_completed_by_the_same_command(
    runs: dict[str, tuple[Path, list[Path]]], tmp_path: Path, overwrite: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run, (whole, shards) = tmp_path / "merged", runs["jsonl"]
    if overwrite:
        shutil.copytree(whole, run)
    place = commit._place

    def failing(target: str, parts: Sequence[Part]) -> None:
        place(target, parts[:1])
        raise StorageError(Reason.READ_FAILED, "the disk is full")

    monkeypatch.setattr(commit, "_place", failing)
    assert merge(*shards, "--output", run, *overwrite) == 1
    assert f"the disk is full; run the same command again to complete {run}" in capsys.readouterr().err
    assert not (run / "_SUCCESS").exists()
    monkeypatch.undo()
    assert merge(*shards, "--output", run, *overwrite) == 0
    assert rows_in(run, "predictions") == rows_in(whole, "predictions")
    assert verify(str(run))["status"] == "succeeded"


@pytest.mark.parametrize("kind", OUTPUT_FORMATS)
@pytest.mark.parametrize("damage", ["half", "a few bytes", "one row fewer", "statistics", "journal"])
def test_a_run_that_was_copied_in_part(
    runs: dict[str, tuple[Path, list[Path]]], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, damage: str
) -> None:
    shutil.copytree(runs[kind][1][0].parent, tmp_path / "shards")
    part = next((tmp_path / "shards/2/predictions").iterdir())
    (tmp_path / "shards/1/predictions/.DS_Store").write_bytes(b"of the system that copied it")
    if damage == "half":
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    elif damage == "a few bytes":
        part.write_bytes(part.read_bytes()[:-5])
    elif damage == "journal":
        next((tmp_path / "shards/2/journal").iterdir()).unlink()
    elif damage == "statistics":
        stats = tmp_path / "shards/2/class_stats.json"
        stats.write_text(stats.read_text()[:-100])
    elif kind == "parquet":
        shutil.copy(next((tmp_path / "shards/2/dead_letters").iterdir()), part)
    else:
        part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:-1]))
    assert merge(tmp_path / "shards", "--output", tmp_path / "merged") in (1, 2)
    message = capsys.readouterr().err
    assert "Error" not in message
    assert any(
        words in message
        for words in ("is damaged", "but its run.json counts", "different columns in", "parts of journal are missing")
    ), message
    assert not (tmp_path / "merged").exists()


def test_shards_are_of_similar_size_and_never_change() -> None:
    keys = [f"gs://shop/photos/{number}.jpg" for number in range(20_000)]
    shards = [Shard(index, 8) for index in range(1, 9)]
    counts = [sum(shard.has(row_key(key)) for key in keys) for shard in shards]
    assert sum(counts) == len(keys)
    assert max(counts) < 1.06 * len(keys) / 8
    # The shard of a row is the same on every machine and in every version.
    assert [shard.index for shard in shards if shard.has(row_key(keys[0]))] == [6]


@pytest.mark.parametrize("given", ["0/3", "4/3", "2", "a/b", "1/0", "-1/3"])
def test_no_such_shard(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["classify", "--input", "a", "--model-dir", "m", "--output", "o", f"--shard={given}"])
    assert error.value.code == 2
    assert "is not a shard: give I/N" in capsys.readouterr().err


def test_a_shard_without_a_row(classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    photo = next(drawn.rglob("*.jpg"))
    index = next(index for index in range(1, 4) if Shard(index, 3).has(row_key(str(photo))))
    for number in range(1, 4):
        flags = ["--shard", f"{number}/3", "--engine", "tensorflow", "--price-per-hour", 2]
        assert classify(photo, tiny_model, tmp_path / "runs" / str(number), *flags) == 0
        assert verify(str(tmp_path / "runs" / str(number)))["counts"]["inputs"] == (number == index)
    assert merge(tmp_path / "runs", "--output", tmp_path / "merged") == 0
    assert verify(str(tmp_path / "merged"))["counts"]["predictions"] == 1
