"""The ``classify`` command on small drawn pictures; the real photos are in tests/test_end_to_end.py."""

from __future__ import annotations

import csv
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from catalogue import model_dir, storage
from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec
from catalogue.model_dir import ModelDir, saved_model
from pipeline.inference import engines, openvino_engine
from pipeline.journal import open_chunks
from pipeline.journal.chunk_files import read_results
from pipeline.journal.part_files import read_part
from pipeline.metering.counts import counted
from pipeline.records import OUTPUT_FORMATS, Chunk
from tests.conftest import spoilt, write_photos

Classify = Callable[..., int]
Rows = Callable[..., list[dict[str, Any]]]
Contents = Callable[[Path], dict[str, bytes]]


def test_a_run_directory_is_as_designed(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert classify(drawn, tiny_model, run) == 0
    names = {file.name for file in run.iterdir()}
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
    info = model_dir.read(tiny_model).info
    rows = read_rows(run)
    assert [row["uri"] for row in rows] == sorted(str(file) for file in drawn.rglob("*.jpg"))
    for row in rows:
        assert set(row) == {"uri", "label", "score", "top", "model_id", "content_hash", "fields"}
        assert row["model_id"] == info.id
        assert row["top"][0] == {"label": row["label"], "score": row["score"]}
        assert [entry["score"] for entry in row["top"]] == sorted((e["score"] for e in row["top"]), reverse=True)
        assert sum(entry["score"] for entry in row["top"]) == pytest.approx(1, abs=1e-5)  # three classes, top five
    record = json.loads((run / "run.json").read_text())
    assert record["counts"] == {
        "inputs": 36, "predictions": 36, "dead_letters": {}, "duplicates": 0,
        "classified": 36, "identical": 0, "reused": {"unread": 0, "conditional": 0, "content": 0}, "retried": 0,
        "left_out": {"hidden_files": 0, "rows_without_uri": 0},
    }  # fmt: skip
    assert record["command"][:4] == ["python", "-m", "pipeline", "classify"]
    stats = json.loads((run / "class_stats.json").read_text())
    for label, own in stats["classes"].items():
        scores = [row["score"] for row in rows if row["label"] == label]
        assert own["count"] == len(scores) == sum(own["score_histogram"] or [])
        assert own["share"] == pytest.approx(len(scores) / 36)
        assert own["share_in_training"] == info.class_shares[label]
        if scores:
            assert own["mean_score"] == pytest.approx(sum(scores) / len(scores))


BAD_FILES = {
    "empty.jpg": (b"", "empty"),
    "page.jpg": (b"<html>", "unknown_format"),
    "torn.jpg": (None, "truncated"),
    "pixel.gif": (b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", "too_small"),
}


def test_bad_images_in_the_middle_of_a_batch_change_no_neighbors_row(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    photos = sorted(drawn.rglob("*.jpg"))
    good = [(str(photo), {"sku": f"{number}"}) for number, photo in enumerate(photos)]
    bad = []
    for name, (content, _) in BAD_FILES.items():
        (tmp_path / name).write_bytes(content if content is not None else photos[0].read_bytes()[:2000])
        bad.append((str(tmp_path / name), {"sku": name}))
    bad.append((str(tmp_path / "gone.jpg"), {"sku": "gone.jpg"}))
    for name, lines in (("good", good), ("mixed", [*good[:5], *bad[:2], *good[5:9], *bad[2:], *good[9:]])):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["uri", "sku"], *([uri, fields["sku"]] for uri, fields in lines)])
        flags = ("--batch-size", 8, "--direct_num_workers=1", "--max-failure-rate", 0.2)
        assert classify(tmp_path / f"{name}.csv", tiny_model, tmp_path / name, *flags) == 0
    alone, mixed = read_rows(tmp_path / "good"), read_rows(tmp_path / "mixed")
    assert len(alone) == 36
    for before, after in zip(alone, mixed, strict=True):
        assert (after["uri"], after["fields"], after["content_hash"]) == (
            before["uri"], before["fields"], before["content_hash"],
        )  # fmt: skip
        for entry, other in zip(before["top"], after["top"], strict=True):
            assert entry["label"] == other["label"]
            assert entry["score"] == pytest.approx(other["score"], abs=1e-6)
    letters = {row["fields"]["sku"]: row for row in read_rows(tmp_path / "mixed", "dead_letters")}
    expected = {name: reason for name, (_, reason) in BAD_FILES.items()} | {"gone.jpg": "not_found"}
    assert {name: row["reason"] for name, row in letters.items()} == expected
    assert set(letters["torn.jpg"]) == {"uri", "reason", "transient", "message", "fields"}


def test_what_is_left_out_is_counted_and_said(
    classify: Classify,
    read_rows: Rows,
    tiny_model: Path,
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Hidden files and rows without a URI are not inputs and do not count toward the failure rate."""
    shutil.copytree(drawn / "hat", tmp_path / "hat")
    shutil.copytree(drawn / "shoes", tmp_path / "hat/.Trash-1000/files")
    lines = ["sku,uri,,", "1,hat/00.jpg|hat/01.jpg,,", *(f"{number},," for number in range(2, 9)), "9,hat/02.jpg"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    more = ("--input", tmp_path / "list.csv", "--uri-separator", "|", "--skip-empty-uri")
    assert classify(tmp_path / "hat", tiny_model, tmp_path / "run", *more) == 0
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert counts["left_out"] == {"hidden_files": 12, "rows_without_uri": 7}
    assert (counts["inputs"], counts["predictions"]) == (15, 15)
    found = [(row["fields"]["sku"], row["fields"]["uri_position"], row["uri"]) for row in read_rows(tmp_path / "run")
             if row["fields"].get("sku")]  # fmt: skip
    assert sorted(found) == [("1", 1, "hat/00.jpg"), ("1", 2, "hat/01.jpg"), ("9", 1, "hat/02.jpg")]
    out = capsys.readouterr().out
    assert "12 hidden files skipped" in out
    assert "7 rows without a URI skipped" in out


def test_a_folder_that_cannot_be_listed_costs_its_own_images_only(
    classify: Classify,
    read_rows: Rows,
    tiny_model: Path,
    drawn: Path,
    tmp_path: Path,
    lock: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("dress", "hat", "shoes"):
        shutil.copytree(drawn / name, tmp_path / "photos" / name)
    lock(tmp_path / "photos/hat")
    assert classify(tmp_path / "photos", tiny_model, tmp_path / "run") == 0
    assert len(read_rows(tmp_path / "run")) == 24
    (letter,) = read_rows(tmp_path / "run", "dead_letters")
    assert (letter["uri"], letter["reason"]) == (f"{tmp_path}/photos/hat", "permission_denied")
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert (counts["inputs"], counts["dead_letters"]) == (25, {"permission_denied": 1})
    for name in ("a", "hat"):
        (tmp_path / "lists" / name).mkdir(parents=True)
        (tmp_path / "lists" / name / "1.csv").write_text(f"uri\n{drawn}/hat/00.jpg\n")
    lock(tmp_path / "lists/hat")
    capsys.readouterr()
    assert classify(tmp_path / "lists/*/*.csv", tiny_model, tmp_path / "none") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(
        r"error: --input \S+ cannot be read: permission_denied: the folder cannot be listed: .*hat'$", said
    )
    assert not (tmp_path / "none").exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_credentials_in_uris_are_in_the_uri_column_only(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The credentials are user names, passwords and signatures, of images that are read and of images that fail."""
    handler = functools.partial(Quiet, directory=str(drawn))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://me:s3cret@127.0.0.1:{server.server_port}"
        uris = [f"{base}/hat/00.jpg", f"{base}/hat/01.jpg?X-Amz-Signature=s3cret", f"{base}/none.jpg?sig=s3cret"]
        uris += ["http://me:s3cret@shop:port/a.jpg", "data:image/png;base64,AAAA"]
        (tmp_path / "list.txt").write_text("\n".join(uris))
        more = ("--max-failure-rate", 1, "--log-file", tmp_path / "log", "--base-uri", base)
        assert classify(tmp_path / "list.txt", tiny_model, tmp_path / "run", *more) == 0
        server.shutdown()
    out, err = capfd.readouterr()
    assert "s3cret" not in out
    assert "s3cret" not in err
    found: list[str] = []
    for file in [tmp_path / "log", *(path for path in (tmp_path / "run").rglob("*") if path.is_file())]:
        if file.parent.name in ("predictions", "dead_letters"):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            found += [row.pop("uri") for row in rows]
            assert "s3cret" not in json.dumps(rows), file
        else:
            assert b"s3cret" not in file.read_bytes(), file
    results = [result for _, batch in read_part(str(next((tmp_path / "run/journal").iterdir()))) for result in batch]
    assert len({result.location for result in results}) == 4
    assert not any("s3cret" in result.location for result in results)
    assert sorted(found) == sorted(uris)


def test_the_same_image_twice_is_two_inputs_and_one_duplicate(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn / "hat", tmp_path / "hat")
    lines = ["uri,sku", "hat/00.jpg,1", f"{tmp_path}/hat/00.jpg,2", "hat/00.jpg,3", "hat/01.jpg,4", ",5", "none.jpg,6"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert classify(tmp_path / "list.csv", tiny_model, tmp_path / "run", "--max-failure-rate", 0.5) == 0
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert counts == {
        "inputs": 6, "predictions": 4, "dead_letters": {"bad_manifest_row": 1, "not_found": 1},
        "duplicates": 2, "left_out": {"hidden_files": 0, "rows_without_uri": 0},
        "classified": 4, "identical": 0, "reused": {"unread": 0, "conditional": 0, "content": 0}, "retried": 0,
    }  # fmt: skip
    rows = {row["fields"]["sku"]: row for row in read_rows(tmp_path / "run")}
    assert {sku: row["uri"] for sku, row in rows.items()} == {
        "1": "hat/00.jpg", "2": f"{tmp_path}/hat/00.jpg", "3": "hat/00.jpg", "4": "hat/01.jpg",
    }  # fmt: skip
    assert rows["1"]["score"] == rows["2"]["score"] == rows["3"]["score"]


def table(folder: Path, form: str) -> list[dict[str, Any]]:
    """Return the rows of all parts in a folder, sorted by URI. CSV and Parquet are read with PyArrow."""
    texts = ("fields.sku", "model_id", "content_hash")  # some hashes look like numbers: 65675753424345e0
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
    found: list[dict[str, Any]] = []
    for part in sorted(folder.glob(f"part-*.{form}")):
        if form == "parquet":
            found += pq.read_table(part).to_pylist()
        elif form == "csv":
            found += pyarrow.csv.read_csv(part, convert_options=options).to_pylist()
        else:
            found += map(json.loads, part.read_text().splitlines())
    return sorted(found, key=lambda row: (row["uri"] or "", row.get("message", "")))


def flat(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """Return a row as it appears in a CSV."""
    cells = {name: value for name, value in row.items() if name not in ("top", "fields")}
    for rank, entry in enumerate(row.get("top", []), start=1):
        cells |= {f"top.{rank}.{name}": value for name, value in entry.items()}
    return cells | {f"fields.{name}": row["fields"].get(name) for name in columns}


def test_several_inputs_of_several_kinds_and_the_same_rows_in_each_format(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    photos = sorted(drawn.rglob("*.jpg"))
    listed = [{"uri": f"hat/{photo.name}", "sku": f"0{n}", "n": n} for n, photo in enumerate(photos[:5])]
    (tmp_path / "some.jsonl").write_text("\n".join([*map(json.dumps, listed), '{"uri": "", "n": 9}', "{"]))
    pq.write_table(pa.table({"uri": [str(photos[18])], "n": [2.5], "price": [1]}), tmp_path / "more.parquet")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=drawn)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shop = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "web.txt").write_text(f"{shop}/shoes/00.jpg\n{shop}/none.jpg\n")
    inputs = [tmp_path / "some.jsonl", tmp_path / "more.parquet", tmp_path / "web.txt", photos[19], f"{drawn}/dress/*"]
    rows, letters = {}, {}
    for form in OUTPUT_FORMATS:
        flags = ("--input", *inputs[1:], "--base-uri", drawn, "--output-format", form, "--max-failure-rate", 0.2)
        assert classify(inputs[0], tiny_model, tmp_path / form, *flags) == 0
        rows[form], letters[form] = (table(tmp_path / form / name, form) for name in ("predictions", "dead_letters"))
    server.shutdown()
    server.server_close()
    assert json.loads((tmp_path / "csv/run.json").read_text())["input"] == list(map(str, inputs))
    assert len(rows["jsonl"]) == 5 + 1 + 1 + 1 + 12
    assert [letter["reason"] for letter in letters["jsonl"]] == ["bad_manifest_row", "bad_manifest_row", "not_found"]
    assert [row["fields"] for row in rows["jsonl"] if row["uri"].startswith("hat/")] == [
        {"sku": f"0{n}", "n": n} for n in range(5)
    ]
    columns = ["sku", "n", "price"]
    for found in (rows, letters):
        for plain, typed, cells in zip(found["jsonl"], found["parquet"], found["csv"], strict=True):
            assert set(typed["fields"]) == set(columns)
            assert {name: value for name, value in typed["fields"].items() if value is not None} == plain["fields"]
            assert {**typed, "fields": None} == {**plain, "fields": None}
            read = {name: value if value != "" else None for name, value in cells.items()}
            assert read == {name: value if value != "" else None for name, value in flat(plain, columns).items()}


@pytest.mark.parametrize("rule", ["pad", "stretch"])
def test_the_resize_rule_of_training_is_that_of_classifying(
    rule: str, classify: Classify, read_rows: Rows, drawn: Path, tmp_path: Path
) -> None:
    from trainer.task import main as train

    arguments = ["--backbone", "small", "--image-size", "32", "--epochs", "1", "--resize", rule]
    assert train(["--data", str(drawn), "--model-dir", str(tmp_path / "model"), *arguments]) == 0
    model = model_dir.read(tmp_path / "model")
    assert model.info.image.resize == rule
    assert classify(drawn / "shoes", tmp_path / "model", tmp_path / "run", "--precision", "float32") == 0
    probabilities = saved_model.load(model)
    rows = read_rows(tmp_path / "run")
    data = [Path(row["uri"]).read_bytes() for row in rows]
    for spec, same in ((ImageSpec(32, rule), True), (ImageSpec(32, "crop"), False)):
        expected = probabilities(np.stack([read_image(photo, spec) for photo in data])).max(axis=1)
        assert np.allclose([row["score"] for row in rows], expected, atol=1e-5) is same


def test_the_limits_of_an_image_are_flags(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "large.png")
    (tmp_path / "long.jpg").write_bytes((drawn / "hat/00.jpg").read_bytes() + bytes(1_000_000))
    flags = ("--input", tmp_path, "--max-pixels", 59_999, "--max-bytes", 900_000, "--max-failure-rate", 0.1)
    assert classify(drawn / "hat", tiny_model, tmp_path / "../run", *flags) == 1
    letters = read_rows(tmp_path / "../run", "dead_letters")
    reasons = {Path(row["uri"]).name: row["reason"] for row in letters}
    assert reasons["long.jpg"] == "too_many_bytes"
    assert reasons["large.png"] == "too_many_pixels"


def test_photos_that_change_between_listing_and_reading(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, other = (drawn / "hat/00.jpg").read_bytes(), (drawn / "shoes/00.jpg").read_bytes()

    def replace(path: Path, make: Callable[[Path], object]) -> None:
        path.unlink()
        make(path)

    changes: dict[str, Callable[[Path], object]] = {
        "same": lambda path: None,
        "vanishes": Path.unlink,
        "is another": lambda path: path.write_bytes(other),
        "grows": lambda path: path.write_bytes(photo + bytes(100)),
        "grows too large": lambda path: path.write_bytes(photo + bytes(1_000_000)),
        "is cut": lambda path: os.truncate(path, len(photo) // 2),
        "is emptied": lambda path: os.truncate(path, 0),
        "folder": lambda path: replace(path, Path.mkdir),
        "pipe": lambda path: replace(path, os.mkfifo),
        "device": lambda path: replace(path, lambda new: new.symlink_to("/dev/zero")),
        "itself": lambda path: replace(path, lambda new: new.symlink_to(new)),
    }
    data = tmp_path / "data"
    data.mkdir()
    for name in changes:
        (data / f"{name}.jpg").write_bytes(photo)
    read = storage.read

    def read_late(location: str, *arguments: Any, **options: Any) -> Any:
        if Path(location).parent == data:
            changes[Path(location).stem](Path(location))
        return read(location, *arguments, **options)

    monkeypatch.setattr(storage, "read", read_late)
    assert classify(data, tiny_model, tmp_path / "run", "--max-failure-rate", 1, "--max-bytes", 500_000) == 0
    hashes = {Path(row["uri"]).stem: row["content_hash"] for row in read_rows(tmp_path / "run")}
    assert hashes == {
        "same": hashlib.sha256(photo).hexdigest(),
        "is another": hashlib.sha256(other).hexdigest(),
        "grows": hashlib.sha256(photo + bytes(100)).hexdigest(),
    }
    letters = {Path(row["uri"]).stem: row["reason"] for row in read_rows(tmp_path / "run", "dead_letters")}
    assert letters == {
        "vanishes": "not_found", "grows too large": "too_many_bytes", "is cut": "truncated", "is emptied": "empty",
        "folder": "not_found", "pipe": "not_found", "device": "not_found", "itself": "not_found",
    }  # fmt: skip


def test_too_many_failures_are_no_success(
    classify: Classify,
    read_rows: Rows,
    tiny_model: Path,
    drawn: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    for number in range(2):
        (data / f"broken-{number}.jpg").write_bytes(b"x")
    run = tmp_path / "run"
    assert classify(data, tiny_model, run) == 1
    assert "2 of 38 images failed, more than --max-failure-rate 0.05 allows" in capfd.readouterr().err
    assert not (run / "_SUCCESS").exists()
    assert len(read_rows(run)) == 36
    assert len(read_rows(run, "dead_letters")) == 2
    assert classify(data, tiny_model, run, "--max-failure-rate", 0.06) == 0  # a failed run may be replaced
    assert (run / "_SUCCESS").exists()


def test_a_run_that_can_no_longer_succeed_is_stopped_early(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos, rows = sorted((drawn / "hat").iterdir()), 50_000
    (tmp_path / "photos").mkdir()
    for number in range(0, rows, 2):
        os.link(photos[number % len(photos)], tmp_path / f"photos/{number}.jpg")
    lines = [f"photos/{number}.jpg,{number}" for number in range(rows)]
    (tmp_path / "list.csv").write_text("\n".join(["uri,number", *lines]))
    run = tmp_path / "run"
    assert classify(tmp_path / "list.csv", tiny_model, run) == 1
    said = capfd.readouterr().err
    found = re.search(r"stopped early: ([\d,]+) of 50,000 images have failed already \(not_found ([\d,]+)\)", said)
    assert found, said
    assert found[1] == found[2]
    assert 1000 <= int(found[1].replace(",", "")) < 25_000
    assert re.search(r"finished work is kept; to continue, run: .* --keep-going$", said, flags=re.MULTILINE)
    assert not (run / "run.json").exists()
    saved = [one for chunk in run.glob("_temporary/*/chunk-*") for one in read_results(str(chunk))[1]]
    assert len(saved) >= int(found[1].replace(",", ""))  # including images of chunks that were not full

    assert "continuing" not in said
    assert classify(tmp_path / "list.csv", tiny_model, run, "--keep-going") == 1
    said = capfd.readouterr().err
    assert f"continuing an earlier run in {run}: " in said
    assert "25,000 of 50,000 images failed, more than --max-failure-rate 0.05 allows" in said
    counts = json.loads((run / "run.json").read_text())["counts"]
    assert (counts["predictions"], counts["dead_letters"]) == (25_000, {"not_found": 25_000})


def test_a_finished_run_is_kept_unless_told_otherwise(
    classify: Classify,
    tiny_model: Path,
    drawn: Path,
    tmp_path: Path,
    contents: Contents,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    assert classify(drawn / "hat", tiny_model, run) == 0
    before = contents(run)
    assert classify(drawn, tiny_model, run) == 2
    assert "holds a finished run" in capfd.readouterr().err
    assert contents(run) == before
    assert classify(drawn, tiny_model, run, "--overwrite") == 0
    assert json.loads((run / "run.json").read_text())["counts"]["inputs"] == 36


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in each chunk that this process has written."""
    written: list[int] = []
    close = open_chunks.OpenChunk.close

    def noted(self: open_chunks.OpenChunk) -> Chunk:
        chunk = close(self)
        written.append(chunk.images)
        return chunk

    monkeypatch.setattr(open_chunks.OpenChunk, "close", noted)
    return written


def test_one_model_serves_all_threads_of_a_process(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    chunks: list[int],
) -> None:  # fmt: skip
    loads: list[engines.Threads] = []
    choose = engines.choose

    def counted(model: ModelDir, threads: engines.Threads, **wanted: str) -> engines.Engine:
        loads.append(threads)
        return choose(model, threads, **wanted)

    monkeypatch.setattr(engines, "choose", counted)
    flags = ("--direct_running_mode=multi_threading", "--direct_num_workers=4")
    assert classify(drawn, tiny_model, tmp_path / "run", *flags) == 0
    assert len(chunks) == 4  # one per thread
    assert sum(chunks) == len(list(drawn.rglob("*.jpg")))
    assert loads == [engines.Threads(callers=4, per_batch=1)]


def test_two_processes_write_the_rows_of_one(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    flags = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    assert classify(drawn, tiny_model, tmp_path / "two", *flags) == 0
    assert classify(drawn, tiny_model, tmp_path / "one", "--direct_num_workers=1") == 0
    for one, two in zip(read_rows(tmp_path / "one"), read_rows(tmp_path / "two"), strict=True):
        assert (one["uri"], one["label"], one["content_hash"]) == (two["uri"], two["label"], two["content_hash"])
        assert one["score"] == pytest.approx(two["score"], abs=1e-6)


@pytest.mark.parametrize(("count", "side"), [(100, 32), (6, 2000)])
def test_many_small_and_few_large_photos_keep_every_worker_busy(
    classify: Classify, tiny_model: Path, tmp_path: Path, count: int, side: int, chunks: list[int]
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(count):
        Image.effect_noise((side, side), 50 + number % 50).convert("RGB").save(tmp_path / f"photos/{number}.jpg")
    flags = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")
    assert classify(tmp_path / "photos", tiny_model, tmp_path / "run", *flags) == 0
    assert sum(chunks) == count
    assert len(chunks) == 2
    assert min(chunks) >= count // 3  # images are distributed by a hash of their names


def test_a_night_pays_only_for_what_changed(
    classify: Classify, read_rows: Rows, tiny_model: Path, drawn: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """There are 36 photos and a broken file. One photo is touched, one changed, one removed, and one copied."""
    photos = tmp_path / "photos"
    shutil.copytree(drawn, photos)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff torn")
    runs = tmp_path / "runs"

    def night(number: int, *more: object) -> int:
        return classify(photos, tiny_model, runs / f"{number}", "--previous", runs, *more)

    assert night(1) == 0
    os.utime(photos / "hat/00.jpg")
    (photos / "hat/01.jpg").write_bytes((photos / "shoes/00.jpg").read_bytes() + b"changed")
    (photos / "hat/02.jpg").unlink()
    shutil.copy(photos / "dress/00.jpg", photos / "new.jpg")
    assert night(2, "--output-format", "csv") == 0
    counts = json.loads((runs / "2/run.json").read_text())["counts"]
    assert counts == {
        "inputs": 37, "predictions": 36, "dead_letters": {"corrupt": 1}, "duplicates": 0,
        "classified": 1, "identical": 0, "reused": {"unread": 34, "conditional": 0, "content": 2}, "retried": 0,
        "left_out": {"hidden_files": 0, "rows_without_uri": 0},
    }  # fmt: skip
    printed = capfd.readouterr()
    assert f"reusing the results of {runs}/1" in printed.err
    assert (
        "1 classified in this run; results reused for 34 images without reading them, 2 images with identical bytes"
        in printed.out
    )
    assert classify(photos, tiny_model, tmp_path / "anew") == 0
    assert night(3) == 0
    assert json.loads((runs / "3/run.json").read_text())["counts"]["reused"]["unread"] == 37
    for folder in ("predictions", "dead_letters"):
        assert read_rows(runs / "3", folder) == read_rows(tmp_path / "anew", folder)
    assert "could be reused" not in capfd.readouterr().err
    (photos / "only").mkdir()
    (photos / "only/one.jpg").write_bytes((photos / "hat/03.jpg").read_bytes() + b"another")
    assert classify(photos / "only", tiny_model, runs / "4", "--previous", runs) == 0
    assert "none of the earlier results could be reused" in capfd.readouterr().err


def test_a_finished_run_outlives_one_that_fails_in_its_place(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    contents: Callable[[Path], dict[str, bytes]],
) -> None:  # fmt: skip
    run, broken = tmp_path / "run", tmp_path / "broken"
    assert classify(drawn, tiny_model, run) == 0
    before = contents(run)
    broken.mkdir()
    (broken / "a.jpg").write_bytes(b"\xff\xd8\xff torn")
    assert classify(broken, tiny_model, run, "--overwrite") == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert f"the rows are in {run}/_failed, without _SUCCESS; the finished run in {run} is unchanged" in line
    after = contents(run)
    assert {name: data for name, data in after.items() if not name.startswith("_failed/")} == before
    assert classify(drawn / "hat", tiny_model, run, "--overwrite") == 0
    assert not (run / "_failed").exists()


def test_a_worker_that_fails_is_one_line_and_leaves_nothing(
    classify: Classify, tiny_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise RuntimeError("the accelerator is on fire")

    monkeypatch.setattr(openvino_engine.OpenVinoEngine, "__call__", fail)
    monkeypatch.setattr(model_dir.ModelDir, "check_golden", lambda *_, **__: None)
    log = tmp_path / "log"
    assert classify(drawn, tiny_model, tmp_path / "run", "--log-file", log, "--direct_num_workers=1") == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert "RuntimeError: the accelerator is on fire" in line
    assert str(log) in line
    assert "Traceback" in log.read_text()
    assert not (tmp_path / "run").exists()


def exit_code(command: Callable[[], int]) -> object:
    """Return the exit code of a command, whether the command returns it or argparse exits."""
    try:
        return command()
    except SystemExit as end:
        return end.code


BAD_USE = {
    "missing folder": ({"--input": "{tmp}/none"}, "does not exist"),
    "empty folder": ({"--input": "{tmp}/empty"}, "names no images"),
    "no match": ({"--input": "{tmp}/*.webp"}, "names no images"),
    "no column uri": ({"--input": "{tmp}/url.csv"}, "has no column 'uri'"),
    "a program as the list": ({"--input": "{python}"}, "is not text"),
    "no model directory": ({"--model-dir": "{tmp}/empty"}, "is not a model directory"),
    "no such model directory": ({"--model-dir": "{tmp}/none"}, "is not a model directory"),
    "an output that is something else": ({"--output": "{drawn}"}, "is not a run directory"),
    "an output that cannot be made": ({"--output": "{tmp}/url.csv/run"}, "cannot be"),
    "an output below the input": ({"--output": "{drawn}/run"}, "would be read as part of --input"),
    "an output that the glob matches": ({"--input": "{drawn}/**", "--output": "{drawn}/run"}, "read as part of"),
    "an output linked below the input": ({"--output": "{tmp}/linked/run"}, "would be read as part of --input"),
    "an empty path": ({"--input": ""}, "argument --input: the path is empty"),
    "not a number": ({"--batch-size": "many"}, "argument --batch-size: 'many' is not an integer from 1 to 2147483647"),
    "a negative number of workers": ({"--direct_num_workers": "-1"}, "--direct_num_workers is negative"),
    "a job nobody waits for": ({"--no_wait_until_finish": None}, "--no_wait_until_finish is not supported"),
    "an invalid glob": ({"--input": "{tmp}/[z-a]*.jpg"}, "bad character range"),
    "unknown flag": ({"--batchsize": "3"}, "unknown argument --batchsize; did you mean --batch-size?"),
    "unknown flag like one of Beam's": ({"--direct_num_worker": "3"}, "did you mean --direct_num_workers?"),
    "a value Beam does not know": ({"--direct_running_mode": "fast"}, "invalid choice: 'fast'"),
    "an unknown runner": ({"--runner": "SpakRunner"}, "--runner SpakRunner is unknown: did you mean SparkRunner?"),
    "no such jar": (
        {"--runner": "FlinkRunner", "--flink_job_server_jar": "/none.jar"},
        "--flink_job_server_jar /none.jar does not exist",
    ),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_one_line_and_leaves_nothing(
    case: str, tiny_model: Path, drawn: Path, tmp_path: Path, contents: Contents, capfd: pytest.CaptureFixture[str]
) -> None:
    from pipeline.__main__ import main

    (tmp_path / "empty").mkdir()
    (tmp_path / "url.csv").write_text("url,sku\na.jpg,1\n")
    (tmp_path / "linked").symlink_to(drawn)
    places = {"tmp": tmp_path, "drawn": drawn, "python": sys.executable}
    changes, words = BAD_USE[case]
    arguments = {"--input": str(drawn), "--model-dir": str(tiny_model), "--output": str(tmp_path / "new/run")}
    arguments |= {flag: value and value.format(**places) for flag, value in changes.items()}
    before = contents(tmp_path), contents(drawn)
    given = ["classify", *(word for pair in arguments.items() for word in pair if word is not None)]
    assert exit_code(lambda: main(given)) == 2
    said = capfd.readouterr().err.splitlines()
    (line,) = (line for line in said if not line.startswith(("classifying ", "classifying: ", "listing: ")))
    assert line.startswith("python -m pipeline classify: error: ")
    assert words in line
    assert (contents(tmp_path), contents(drawn)) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_does_not_reproduce_its_golden_images_labels_nothing(
    workers: int, command: Callable[..., subprocess.CompletedProcess[str]], model_copy: Path, drawn: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The command runs in its own process. Each worker detects the error, the second of them seconds later."""
    run = tmp_path / "run"
    words = ["--input", drawn, "--model-dir", spoilt(model_copy), "--output", run]
    done = command("pipeline", "classify", *words, f"--direct_num_workers={workers}")
    assert (done.returncode, done.stdout) == (2, "")
    *others, line = done.stderr.splitlines()
    assert all(other.startswith(("classifying ", "listing: ")) for other in others), done.stderr
    assert line.startswith("python -m pipeline classify: error: ")
    assert re.search(r"does not reproduce (\d+) of its \1 golden images", line)
    assert line.endswith("train the model again or repair the installation")
    assert not run.exists()


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_a_run_shows_its_progress_and_at_the_end_where_the_time_went(
    mode: str, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    photos, run = write_photos(drawn, tmp_path / "photos", 4000), tmp_path / "run"
    words = ["classify", "--input", photos, "--model-dir", tiny_model, "--output", run, "--price-per-hour", 2]
    flags = [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words), *flags], stdout=subprocess.PIPE, text=True
    )
    seen: list[tuple[int, int]] = []
    while process.poll() is None:
        for folder in run.glob("_temporary/*"):
            counts = counted(str(folder))
            seen.append((counts["listed"], counts["classified"]))
        time.sleep(0.02)
    printed = process.communicate()[0]
    assert process.returncode == 0
    assert any(listed == 4000 and 0 < classified < 4000 for listed, classified in seen)
    assert not (run / "_temporary").exists()
    record = json.loads((run / "run.json").read_text())
    assert sum(int(size) * count for size, count in record["batches"].items()) == 4000
    assert max(map(int, record["batches"])) == 16
    assert record["workers"] == (2 if mode == "multi_processing" else 1)
    assert sum(engine["images"] for engine in record["engines"]) == 4000
    steps = record["timings"]["worker_seconds"]
    assert min(steps["decoding"], steps["inference"], steps["rest"]) > 0
    assert sum(steps.values()) < 2 * record["timings"]["seconds"]
    assert record["timings"]["first_prediction_seconds"] < record["timings"]["seconds"]
    assert record["peak_worker_memory_bytes"] > 100 * 2**20
    for words_of_it in (
        "worker time after startup: reading ",
        "batches: ",
        "; first prediction after ",
        " per hour, a million images cost ",
        " without startup",
    ):
        assert words_of_it in printed
