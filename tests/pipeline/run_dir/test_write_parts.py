from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.journal.chunk_files import ChunkWriter
from pipeline.journal.part_files import read_part
from pipeline.records import Chunk, FinishedImage, ListedImage, Result
from pipeline.run_dir.run import Run
from pipeline.run_dir.write_parts import Assignment, assignments, merge


def chunk(name: str, predictions: int, dead_letters: int) -> Chunk:
    return Chunk(name, predictions + dead_letters, predictions, dead_letters)


def test_chunks_are_divided_by_their_rows() -> None:
    chunks = [chunk("d", 1000, 0), chunk("a", 900, 100), chunk("c", 5000, 0), chunk("b", 0, 7), chunk("e", 1, 0)]
    found = list(assignments(chunks, 2000))
    digest = found[0].digest
    assert found == [
        Assignment("predictions", 0, ("a",), digest),
        Assignment("predictions", 1, ("c",), digest),
        Assignment("predictions", 2, ("d", "e"), digest),
        Assignment("dead_letters", 0, ("a", "b"), digest),
        Assignment("journal", 0, ("a", "b"), digest),
        Assignment("journal", 1, ("c",), digest),
        Assignment("journal", 2, ("d", "e"), digest),
    ]


def test_a_folder_has_a_part_even_without_rows(run: Run) -> None:
    found = list(assignments([], 2000))
    digest = found[0].digest
    assert found == [Assignment(folder, 0, (), digest) for folder in ("predictions", "dead_letters", "journal")]
    part = merge(found[0], run, pa.schema([]))
    assert (part.rows, Path(part.path).read_bytes()) == (0, b"")


@pytest.mark.parametrize("count", [50_000])
def test_parts_of_many_bundles_are_few_and_full(count: int) -> None:
    found = list(assignments([chunk(f"{n:06}", 1000, 1) for n in range(count)], 100_000))
    predictions = [part for part in found if part.folder == "predictions"]
    assert [len(part.chunks) for part in predictions] == [100] * (count // 100)
    assert [path for part in predictions for path in part.chunks] == [f"{n:06}" for n in range(count)]
    assert [len(part.chunks) for part in found if part.folder == "dead_letters"] == [count]


def test_each_row_of_the_chunks_is_in_one_part(run: Run) -> None:
    run = dataclasses.replace(run, top_k=1)
    writer = ChunkWriter(run.temporary, run.settings)
    good = Result("/a", "v", "hash", (("hat", 0.75),))
    writer.write(FinishedImage(ListedImage("/a", (("a", {"sku": 1}), ("./a", {"sku": 2}))), good))
    writer.write(
        FinishedImage(
            ListedImage("/b", (("b", {"sku": 3}),)), Result("/b", reason="read_failed", transient=True, message="!")
        )
    )
    path = writer.close()
    predictions, dead_letters = (
        merge(Assignment(folder, 4, (path,), "digest"), run, pa.schema([("sku", pa.int64())]))
        for folder in ("predictions", "dead_letters")
    )
    assert (predictions.folder, predictions.number, predictions.rows) == ("predictions", 4, 2)
    row = {"label": "hat", "score": 0.75, "top": [{"label": "hat", "score": 0.75}], "model_id": run.model.id,
           "content_hash": "hash"}  # fmt: skip
    assert list(map(json.loads, Path(predictions.path).read_text().splitlines())) == [
        {"uri": "a", **row, "fields": {"sku": 1}},
        {"uri": "./a", **row, "fields": {"sku": 2}},
    ]
    assert list(map(json.loads, Path(dead_letters.path).read_text().splitlines())) == [
        {"uri": "b", "reason": "read_failed", "transient": True, "message": "!", "fields": {"sku": 3}}
    ]


def test_the_journal_has_a_result_for_each_image_that_a_line_names(run: Run) -> None:
    results = [Result("/a", "v", "hash", (("hat", 0.75),)), Result("/b", reason="not_found")]
    wrong = Result("", reason="bad_manifest_row")
    writer = ChunkWriter(run.temporary, run.settings)
    for result in (results[0], wrong, results[1]):
        writer.write(FinishedImage(ListedImage(result.location, (("a", {}), ("./a", {}))), result))
    path = writer.close()
    part = merge(Assignment("journal", 0, (path,), "digest"), run, pa.schema([]))
    assert part.rows == 2
    assert list(read_part(part.path)) == [(run.settings, results)]
