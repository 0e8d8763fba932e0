"""One set of lists, read for training and for classification: both find the same images and labels."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogue.cli.errors import UserError
from pipeline.config import Manifest
from pipeline.manifest.reading import rows
from pipeline.records import FinishedImage, ManifestRow
from trainer.data.examples import find_examples


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


HATS = [("a b.jpg", "hat"), ("/x/2.jpg", "shoes")]
PLAIN = "uri,label\na b.jpg,hat\n/x/2.jpg,shoes\n"
LISTS: dict[str, tuple[str, bytes, list[tuple[str, str]]]] = {
    "a header with a space": ("list.csv", b"uri, label\na b.jpg,hat\n/x/2.jpg, shoes \n", HATS),
    "semicolons and a header with more commas": (
        "list.csv",
        b'uri;label;"size, colour, fit, cut"\na b.jpg;hat;1\n/x/2.jpg;shoes;2\n',
        HATS,
    ),
    "vertical bars": ("list.csv", b"uri|label\na b.jpg|hat\n/x/2.jpg|shoes\n", HATS),
    "a tab in a CSV": ("list.csv", b"uri\tlabel\na b.jpg\that\n/x/2.jpg\tshoes\n", HATS),
    ".tab": ("list.tab", b"uri\tlabel\na b.jpg\that\n/x/2.jpg\tshoes\n", HATS),
    ".tsv, gzipped": ("list.tsv.gz", gzip.compress(b"uri\tlabel\na b.jpg\that\n/x/2.jpg\tshoes\n"), HATS),
    "empty cells at the end, as spreadsheets write them": (
        "list.csv", b"uri,label,,\na b.jpg,hat,,\n/x/2.jpg,shoes\n,,,\n", HATS,
    ),
    "empty cells left out at the end, as Excel does": (
        "list.csv",
        b"uri,label,size,price\n/a.jpg,hat,M,1\n/b.jpg,hat\n/c.jpg,hat,S\n",
        [("/a.jpg", "hat"), ("/b.jpg", "hat"), ("/c.jpg", "hat")],
    ),
    "UTF-16 with tabs, as spreadsheets write it": (
        "list.txt", PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"), HATS,
    ),
    "UTF-16, big-endian": ("list.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be"), HATS),
    "UTF-16, gzipped": ("list.csv.gz", gzip.compress(PLAIN.encode("utf-16")), HATS),
    "a line that tells Excel the delimiter": (
        "list.csv", b"sep=;\r\nuri;label\r\na b.jpg;hat\r\n/x/2.jpg;shoes\r\n", HATS,
    ),
    "the end-of-file mark of DOS": ("list.csv", PLAIN.encode() + b"\x1a", HATS),
    "a header with U+00A0": ("list.csv", "uri,label,Name\u00a0DE\na b.jpg,hat,x\n/x/2.jpg,shoes,y\n".encode(), HATS),
    "JSON Lines with U+3000, U+200D and U+2028": (
        "list.jsonl",
        '{"uri": "a b.jpg", "label": "hat", "name": "a\u3000b\u200dc\u2028d"}\n'.encode()
        + b'{"uri": "/x/2.jpg", "label": "shoes"}\n',
        HATS,
    ),
    "JSON Lines called .json": (
        "list.json", b'{"uri": "a b.jpg", "label": "hat"}\n{"uri": "/x/2.jpg", "label": "shoes"}\n', HATS,
    ),
    "another column of mixed types": (
        "list.jsonl",
        b'{"uri": "a b.jpg", "label": "hat", "price": 12}\n'
        b'{"uri": "/x/2.jpg", "label": "shoes", "price": "12 EUR"}\n',
        HATS,
    ),
    "URIs without a scheme": (
        "list.csv",
        b"uri,label\n//cdn.shop.example/a.jpg?v=1,hat\n//cdn.shop.example:81/b.jpg,hat\n",
        [("https://cdn.shop.example/a.jpg?v=1", "hat"), ("https://cdn.shop.example:81/b.jpg", "hat")],
    ),
    "no extension": ("list", b"uri,label\na b.jpg,hat\n/x/2.jpg,shoes\n", HATS),
    "blank lines": ("list.csv", b"\nuri,label\n\na b.jpg,hat\n\n/x/2.jpg,shoes\n\n", HATS),
    "a byte order mark": ("list.csv", b"\xef\xbb\xbfuri,label\r\na b.jpg,hat\r\n/x/2.jpg,shoes\r\n", HATS),
    "line endings of old Macs": ("list.csv", PLAIN.replace("\n", "\r").encode(), HATS),
    "JSON Lines that end with CR": (
        "list.jsonl", b'{"uri": "a b.jpg", "label": "hat"}\r{"uri": "/x/2.jpg", "label": "shoes"}\r', HATS,
    ),
    "a line break in the header": ("list.csv", PLAIN.replace("uri,", '"Price\nEUR",uri,').replace(
        "a b", "1,a b").replace("/x", "2,/x").encode(), HATS),
    "a line break in the header and semicolons": ("list", PLAIN.replace("uri,", '"Price\r\nEUR",uri,').replace(
        "a b", "1,a b").replace("/x", "2,/x").replace(",", ";").encode(), HATS),
    "a line break in the header of a .txt": ("list.txt", PLAIN.replace("uri,", '"Price\rEUR",uri,').replace(
        "a b", "1,a b").replace("/x", "2,/x").encode(), HATS),
    "three byte order marks": ("list.csv", b"\xef\xbb\xbf" * 3 + PLAIN.encode(), HATS),
    "byte order marks and UTF-16": ("list.csv", ("\ufeff\ufeff" + PLAIN).encode("utf-16"), HATS),
    "a line that tells Excel that the delimiter is a tab": (
        "list.csv", b"sep=\t\r\n" + PLAIN.replace(",", "\t").replace("\n", "\r\n").encode(), HATS,
    ),
    "semicolons, gzipped after an empty member": (
        "list.csv.gz", gzip.compress(b"") + gzip.compress(PLAIN.replace(",", ";").encode()), HATS,
    ),
    "a header in two members": (
        "list.csv.gz", gzip.compress(b"uri;la") + gzip.compress(PLAIN.replace(",", ";").encode()[6:]), HATS,
    ),
    "JSON Lines, gzipped after an empty member": (
        "list.gz", gzip.compress(b"") + gzip.compress(b'{"uri": "a b.jpg", "label": "hat"}\n'), HATS[:1],
    ),
    "JSON Lines called .txt": ("list.txt", b'{"uri": "a b.jpg", "label": "hat"}\n', HATS[:1]),
    "another extension": ("list.dat", b"uri,label\na b.jpg,hat\n/x/2.jpg,shoes\n", HATS),
    ".pq": ("list.pq", parquet(uri=["a b.jpg", "/x/2.jpg"], label=["hat", "shoes"]), HATS),
    "Parquet without an extension": ("list", parquet(uri=["a b.jpg", "/x/2.jpg"], label=["hat", "shoes"]), HATS),
    "numbers as labels": (
        "list.parquet",
        parquet(uri=["/1.jpg", "/2.jpg"], label=[3, 7]),
        [("/1.jpg", "3"), ("/2.jpg", "7")],
    ),
    "JSON Lines with numbers and text": (
        "list.jsonl",
        b'{"uri": "a b.jpg", "label": 3}\n{"uri": "/x/2.jpg", "label": "shoes"}\n{"uri": "/3.jpg", "label": 4.0}\n',
        [("a b.jpg", "3"), ("/x/2.jpg", "shoes"), ("/3.jpg", "4")],
    ),
    "JSON Lines without an extension": ("list", b'{"uri": "a b.jpg", "label": "hat"}\n', HATS[:1]),
    "file URIs": ("list.csv", b"uri,label\nfile:///a%20b.jpg,hat\nFILE://localhost/c.jpg,hat\n",
                  [("/a b.jpg", "hat"), ("/c.jpg", "hat")]),
    "URIs of every kind": (
        "list.csv",
        b"uri,label\nhttps://shop.example/a.jpg,hat\ngs://shop/b.jpg,hat\nS3://shop/c.jpg,hat\nsub/../d.jpg,hat\n",
        [(f"{uri}.jpg", "hat") for uri in ("https://shop.example/a", "gs://shop/b", "s3://shop/c", "d")],
    ),
}  # fmt: skip


def as_text(label: object) -> str:
    """Return a label as a user would type it, such as 4 if a tool has stored 4.0."""
    return json.dumps(int(label) if isinstance(label, float) else label).strip('"').strip()


@pytest.mark.parametrize("case", LISTS)
def test_both_sides_read_the_same(tmp_path: Path, case: str) -> None:
    name, content, expected = LISTS[case]
    path = str(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    wanted = [(uri if "://" in uri else str(tmp_path / uri), label) for uri, label in expected]
    listed = [row for row in rows(path, Manifest((path,))) if isinstance(row, ManifestRow)]
    assert [(row.location, as_text(row.fields["label"])) for row in listed] == wanted
    assert [(example.uri, example.label) for example in find_examples(path)] == wanted


WRONG: dict[str, tuple[str, bytes, str]] = {
    "no URI": ("list.csv", b"uri,label\n/a.jpg,hat\n,hat\n", "line 3 of {} has no URI"),
    "too many cells": ("list.csv", b"uri,label\n/a.jpg,hat,red\n", "line 2 of {}: 3 cells, but the header has 2"),
    "too few cells for a URI": (
        "list.csv",
        b"label,size,uri\nhat,M,/a.jpg\nhat,M\n",
        "line 3 of {}: 2 cells, but the header has 3",
    ),
    "an open quote": ("list.csv", b'uri,label\n/a.jpg,"hat\n', "line 2 of {}: invalid CSV"),
    "not JSON": ("list.jsonl", b'{"uri": "/a.jpg", "label": "hat"}\n{"uri"\n', "line 2 of {}: invalid JSON"),
    "700 levels": (
        "list.jsonl",
        b'{"uri": "/a.jpg", "label": "hat", "x": ' + b"[" * 700 + b"]" * 700 + b"}\n",
        "line 1 of {}: nested more than 100 levels deep",
    ),
    "a number as the URI": ("list.jsonl", b'{"uri": 5, "label": "hat"}\n', "line 1 of {}: the URI 5 is not text"),
    "a key twice": (
        "list.jsonl",
        b'{"uri": "/a.jpg", "label": "hat", "uri": "/b.jpg"}\n',
        "line 1 of {}: duplicate key 'uri'",
    ),
    "another key twice": (
        "list.jsonl",
        b'{"uri": "/a.jpg", "label": "hat", "label": "dress"}\n',
        "line 1 of {}: duplicate key 'label'",
    ),
    "not UTF-8": ("list.csv", b"uri,label\n/\xe9.jpg,hat\n", "line 2 of {} is not UTF-8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_a_dead_letter_to_one_side_and_refused_by_the_other(tmp_path: Path, case: str) -> None:
    name, content, words = WRONG[case]
    path = str(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    (letter,) = (row for row in rows(path, Manifest((path,))) if not isinstance(row, ManifestRow))
    assert isinstance(letter, FinishedImage)
    assert letter.result.message.startswith(words.format(path))
    with pytest.raises(UserError) as error:
        find_examples(path)
    assert str(error.value) == f"{letter.result.message}: fix or remove the row"


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "UTF-32": ("list.csv", "uri,label\n".encode("utf-32"), "is UTF-32: save it as UTF-8"),
    "UTF-16, no byte order mark": (
        "list.csv",
        "uri,label\n".encode("utf-16-le"),
        "is UTF-16 without a byte order mark",
    ),
    "truncated UTF-16": ("list.csv", "uri,label\n/a.jpg,hat\n".encode("utf-16")[:-1], "is truncated or damaged"),
    "the URI column twice": ("list.csv", b"uri,label,uri\na.jpg,hat,b.jpg\n", "has two columns of the same name"),
    "one JSON object": ("list.json", b'{\n"uri": "a.jpg"\n}\n', "is one JSON value: write JSON Lines"),
    "a JSON object with rows": (
        "list.json",
        b'{"products": [\n {"uri":"a.jpg"},\n {"uri":"b.jpg"}\n]}\n',
        r"is one JSON value: write JSON Lines, with one object per line \(jq -c '.products\[\]'\)",
    ),
    "a long JSON object with rows": (
        "list.json",
        b'{"data": {"products": [\n' + b' {"uri":"a.jpg"},\n' * 200_000,
        r"is one JSON value: write JSON Lines, with one object per line \(jq -c '.NAME\[\]'\)",
    ),
    "a JSON object with rows on one line": (
        "list.jsonl",
        b'{"rows":[{"uri":"a.jpg"},{"uri":"b.jpg"}]}',
        r"is one JSON value: .*'.rows\[\]'",
    ),
    "a JSON object with rows on one long line": (
        "list.jsonl",
        b'{"rows":[' + b'{"uri":"a.jpg"},' * 100_000,
        r"is one JSON value: .*'.rows\[\]'",
    ),
    "JSON objects of several lines": (
        "list.jsonl",
        b'{\n"uri": "a.jpg"\n}\n{\n"uri": "b.jpg"\n}\n',
        r"has JSON values that span several lines: .*jq -c .\)",
    ),
    "a JSON array called .txt": ("list.txt", b'[\n"a.jpg",\n"b.jpg"\n]', r"is one JSON value: .*'.\[\]'"),
    "a JSON array without an extension": ("list", b'["a.jpg", "b.jpg"]', r"is one JSON value: .*'.\[\]'"),
    **{
        f"{markup[:5].decode()} called {name}": (
            name,
            b"\xef\xbb\xbf\n " + markup,
            "is XML or HTML, not a list: export it",
        )
        for markup in (
            b'<?xml version="1.0"?>\n<rss>\n</rss>\n',
            b"<!DOCTYPE html>\n",
            b"<html>404</html>",
            b"<rss v='2'>",
        )
        for name in ("list.jsonl", "list.xml", "list.txt", "list.csv")
    },
    "a column with a byte order mark": (
        "list.csv",
        b'" \xef\xbb\xbfuri",label\n',
        r"has no column 'uri', only '\\ufeffuri', label",
    ),
    "semicolons and no URI column": (
        "list.csv",
        b'"Preis";url;label\n',
        "has no column 'uri', only Preis, url",
    ),
    "half a Parquet": ("list.parquet", parquet(uri=["a"], label=["b"])[:-9], "is not a complete Parquet file"),
    "a spreadsheet": ("list.xlsx", b"PK\3\4\x14\0", "is a spreadsheet or another zip file: save it as CSV"),
    "another column": ("list.csv", b"url,label\n", "has no column 'uri', only url, label"),
    "a column twice": ("list.csv", b"uri,label,label\n", "has two columns of the same name: uri, label, label"),
    "nothing": ("list.csv", b"", "is empty: it names no images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_both_sides_refuse_a_list_with_the_same_words(tmp_path: Path, case: str) -> None:
    name, content, words = REFUSED[case]
    path = str(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    for read in (lambda: list(rows(path, Manifest((path,)))), lambda: find_examples(path)):
        with pytest.raises(UserError, match=f"list.* {words}"):
            read()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.csv", "uri,sku\na,1\n", "has no column 'label', only uri, sku"),
        ("list.jsonl", '{"uri": "a"}\n', "has no column 'label', only uri"),
        ("list.txt", "a.jpg\n", "has no column 'label': give a CSV, TSV, JSON Lines or Parquet file"),
        ("photo.jpg", "x", "has no column 'label': give a CSV"),
        ("list.csv", "uri,label\na.jpg,\n", "line 2 of .* has no label: fix or remove the row"),
        ("list.csv", "uri,label\n", "has no rows"),
        (
            "list.jsonl",
            '{"uri": "a.jpg", "label": ["hat", "sale"]}\n',
            r"line 1 of .*: the label \['hat', 'sale'\] is not text",
        ),
        ("list.jsonl", '{"uri": "a.jpg", "label": {"name": "hat"}}\n', "line 1 of .* is not text or a number"),
    ],
)
def test_training_wants_labels(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words):
        find_examples(str(tmp_path / name))


def test_a_pipe_is_refused_by_both(tmp_path: Path) -> None:
    """For example, ``--input <(find photos)`` passes a pipe."""
    path = str(tmp_path / "63")
    os.mkfifo(path)
    for read in (lambda: list(rows(path, Manifest((path,)))), lambda: find_examples(path)):
        with pytest.raises(UserError, match="63 is a pipe or a device: write the list to a file"):
            read()


def test_a_glob_of_lists_is_all_of_them_to_both(tmp_path: Path) -> None:
    for day in ("20", "21"):
        (tmp_path / f"{day}.csv").write_text(f"uri,label\n/{day}.jpg,hat\n")
    where = f"{tmp_path}/*.csv"
    assert [example.uri for example in find_examples(where)] == ["/20.jpg", "/21.jpg"]
    assert [row.uri for row in rows(where, Manifest((where,)))] == ["/20.jpg", "/21.jpg"]
