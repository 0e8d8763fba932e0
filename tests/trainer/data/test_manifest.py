from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from catalogue.cli.console import UserError
from trainer.data import manifest

ROWS = [("photos/a b.jpg", "hat"), ("/elsewhere/2.jpg", "shoes, old"), ("gs://shop/3.jpg", "7")]
CSV = 'id,uri,label\n1,photos/a b.jpg,hat\n2,/elsewhere/2.jpg,"shoes, old"\n3,gs://shop/3.jpg,7\n'
JSON_LINES = "".join(json.dumps({"label": label, "uri": uri, "id": 1}) + "\n" for uri, label in ROWS)


def expected(folder: Path) -> list[tuple[str, str]]:
    return [(f"{folder}/{ROWS[0][0]}", ROWS[0][1]), *ROWS[1:]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.CSV.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()),
        ("a.tsv", CSV.replace(",", "\t").replace('"shoes\t old"', "shoes, old").encode()),
        ("a.csv", CSV.replace(",", ";").replace('"shoes; old"', "shoes, old").encode()),
        ("a.csv", CSV.replace(",", "|").replace('"shoes| old"', "shoes, old").encode()),
        ("a.jsonl", JSON_LINES.encode()),
        ("a.ndjson.gz", gzip.compress(JSON_LINES.encode(), mtime=0)),
    ],
)
def test_reads_uris_and_labels(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert manifest.is_manifest(name)
    assert list(manifest.read(f"{tmp_path}/{name}")) == expected(tmp_path)


def test_reads_parquet(tmp_path: Path) -> None:
    uris, labels = zip(*ROWS, strict=True)
    parquet.write_table(pa.table({"label": labels, "more": [1, 2, 3], "uri": uris}), tmp_path / "a.parquet")
    assert list(manifest.read(f"{tmp_path}/a.parquet")) == expected(tmp_path)


def test_labels_that_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"uri": "1.jpg", "label": 3}\n{"uri": "2.jpg", "label": 10}\n')
    parquet.write_table(pa.table({"uri": ["1.jpg", "2.jpg"], "label": [3.0, 10.0]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert [label for _, label in manifest.read(f"{tmp_path}/{name}")] == ["3", "10"]


def test_reads_any_file_system_of_tensorflow() -> None:
    import tensorflow as tf

    tf.io.gfile.makedirs("ram://lists")
    with tf.io.gfile.GFile("ram://lists/a.csv", "w") as file:
        file.write("uri,label\n1.jpg,hat\n")
    assert list(manifest.read("ram://lists/a.csv")) == [("ram://lists/1.jpg", "hat")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"uri,class\n1.jpg,hat\n", "has no column 'label'; it has 'uri', 'class'"),
        ("a.csv", b"uri,label\n1.jpg,hat\n2.jpg,\n", "row 2 has no label"),
        ("a.csv", b"uri,label\n,hat\n", "row 1 has no uri"),
        ("a.csv", b"uri,label\n1.jpg,hat\n2.jpg\n", r"cannot be read as a list of photos: .*Row #3"),
        ("a.csv", b"uri,label\n1.jpg,h\xe9t\n", "cannot be read as a list of photos: .*UTF8"),
        ("a.csv", b"uri,label\n", "has no rows"),
        ("a.csv", b"", "cannot be read as a list of photos"),
        ("a.csv.gz", gzip.compress(b"uri,label\n", mtime=0)[:-4], "cannot be read as a list of photos"),
        ("a.jsonl", b'{"uri": "1.jpg", "label": "hat"}\n{"uri": ', "cannot be read as a list of photos"),
        ("a.jsonl", b'{"uri": "1.jpg", "label": "hat"}\n{"uri": "2.jpg"}\n', "row 2 has no label"),
        ("a.parquet", b"PAR1 no more", "cannot be read as a list of photos"),
    ],
)
def test_a_list_with_a_wrong_row_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        list(manifest.read(f"{tmp_path}/{name}"))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        list(manifest.read(f"{tmp_path}/none.csv"))
