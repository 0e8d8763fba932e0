from __future__ import annotations

import csv
import dataclasses
import datetime
import decimal
import gzip
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.lists import inputs, kinds, parts, values
from catalogue.lists.inputs import BadRow, Row
from catalogue.lists.values import ListColumns, Part
from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import Access

ROWS = [
    {"uri": f"gs://shop/{n}.jpg", "sku": f"{n:05}", "name": "Größe 40, rot" if n % 3 else 'a "good" one'}
    for n in range(500)
]


def delimited(delimiter: str, ending: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter, lineterminator=ending)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


JSON_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
CONTENTS: dict[str, tuple[str, bytes]] = {
    "comma": ("list.csv", delimited(",")),
    "semicolon": ("list.csv", delimited(";")),
    "tab in a CSV": ("list.csv", delimited("\t")),
    "byte order mark": ("list.csv", b"\xef\xbb\xbf" + delimited(",", "\r\n")),
    "no extension": ("list", delimited(",")),
    "another extension": ("list.dat", delimited("|")),
    "TSV": ("list.tsv", delimited("\t")),
    "JSON Lines": ("list.jsonl", JSON_LINES),
    "JSON Lines by content": ("list", JSON_LINES),
    "Parquet": ("list.parquet", parquet(ROWS, row_group_size=70)),
    "Parquet by content": ("list", parquet(ROWS)),
}
GZIPPED = {f"{name}, gzipped": (f"{file}.gz", gzip.compress(data, mtime=0)) for name, (file, data) in CONTENTS.items()}
GZIPPED = {name: content for name, content in GZIPPED.items() if "Parquet" not in name}
GZIPPED["gzipped without .gz"] = ("list.csv", gzip.compress(delimited(",")))
GZIPPED["two gzip members"] = (
    "list.csv.gz",
    b"".join(gzip.compress(half, mtime=0) for half in delimited(",").partition(b"7,")),
)


def rows(path: Path, uri_column: str = "uri", base_uri: str | None = None) -> list[Row | BadRow]:
    """Read the rows of an input, with their positions blanked: only messages use them."""
    columns = ListColumns(uri_column, hint="; choose another with --uri-column")
    found = [row for part in inputs.parts_of(str(path), columns) for row in inputs.rows(part, columns, base_uri)]
    return [dataclasses.replace(row, where="") if isinstance(row, Row) else row for row in found]


def good(uri: str, location: str, columns: dict[str, Any]) -> Row:
    return Row(uri, location, columns, "")


@pytest.mark.parametrize("part_bytes", [parts.PART_BYTES, 1000])
@pytest.mark.parametrize("case", CONTENTS | GZIPPED)
def test_each_kind_is_recognized_and_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, part_bytes: int
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", part_bytes)
    name, content = (CONTENTS | GZIPPED)[case]
    (tmp_path / name).write_bytes(content)
    expected = [good(row["uri"], row["uri"], {"sku": row["sku"], "name": row["name"]}) for row in ROWS]
    assert rows(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"uri\nb.jpg\n"), ("a.lst", b'{"uri"}\n'), ("a", b"x,y.jpg\n")]
)
def test_a_list_is_text_by_extension_or_if_it_is_nothing_else(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert [row.uri for row in rows(tmp_path / name)] == content.decode().split("\n")[:-1]


@pytest.mark.parametrize("name", ["photo.jpg", "photo", "photo.csv"])
def test_an_image_is_a_list_of_itself(tmp_path: Path, drawn: Path, name: str) -> None:
    (tmp_path / name).write_bytes((drawn / "hat/00.jpg").read_bytes())
    where = str(tmp_path / name)
    assert rows(tmp_path / name) == [good(where, where, {})]


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"a.jpg\nb.jpg\n", bytes(100)])
def test_a_broken_image_is_no_list(tmp_path: Path, content: bytes) -> None:
    """The shell expands an unquoted glob to all matching files, including broken ones."""
    (tmp_path / "broken.JPG").write_bytes(content)
    assert [row.uri for row in rows(tmp_path / "broken.JPG")] == [f"{tmp_path}/broken.JPG"]


BLANKS = (" ", "\t", "\r", "\n", "\v", "\f", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000")


def test_a_file_that_is_found_keeps_its_name(tmp_path: Path) -> None:
    """Only cells of lists are stripped: ``a.jpg`` must not be read in place of ``a.jpg`` with a trailing space."""
    names = {
        "a.jpg",
        "file:",
        "data:,x",
        *(f"a.jpg{blank}" for blank in BLANKS),
        *(f"{blank}a.jpg" for blank in BLANKS),
    }
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    versions = {file.location: file.version for file in storage.list_files(str(tmp_path))}
    assert set(versions) == {f"{tmp_path}/{name}" for name in names}
    for where in (tmp_path, tmp_path / "*"):
        found = [row for row in rows(where) if isinstance(row, Row)]
        assert {row.location: row.version for row in found} == versions
        assert all(row.uri == row.location for row in found)


def test_an_object_that_is_found_keeps_its_name(open_object_store: Callable[[str], Any]) -> None:
    root = open_object_store("s3").root
    names = {"a.jpg", "a.jpg ", " a.jpg", "a.jpg\u00a0"}
    for name in names:
        storage.write_text(f"{root}/{name}", "x")
    found = list(inputs.rows(root, ListColumns()))
    assert {row.location for row in found if isinstance(row, Row)} == {f"{root}/{name}" for name in names}


@pytest.mark.parametrize("base_uri", [None, "/photos", "https://shop.example"])
def test_an_image_is_itself_whatever_it_is_called(tmp_path: Path, drawn: Path, base_uri: str | None) -> None:
    content = (drawn / "hat/00.jpg").read_bytes()
    for name in ("a.jpg", "a.jpg ", "b.jpg\n"):
        (tmp_path / name).write_bytes(content)
        (row,) = rows(tmp_path / name, base_uri=base_uri)
        assert (row.uri, row.location) == (f"{tmp_path}/{name}",) * 2


def test_a_glob_of_lists_is_all_of_them(tmp_path: Path) -> None:
    for day in ("20", "21"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "part-0.csv").write_text(f"uri,day\n/{day}.jpg,{day}\n,{day}\n")
    found = rows(tmp_path / "*/part-*.csv")
    assert [row.columns["day"] for row in found] == ["20", "20", "21", "21"]
    assert [row.message for row in found if isinstance(row, BadRow)] == [
        f"line 3 of {tmp_path}/{day}/part-0.csv has no URI" for day in ("20", "21")
    ]
    assert inputs.glob_of_lists(str(tmp_path / "20")) == f"{tmp_path}/20/*.csv"
    assert inputs.glob_of_lists(str(tmp_path / "*/part-*.csv")) is None


@pytest.mark.parametrize(
    ("files", "ending"),
    [
        ({"part-00000.snappy.parquet": parquet(ROWS)}, "*.parquet"),
        ({"part-00000.csv.gz": gzip.compress(b"uri\na.jpg\n"), "part-00001.csv.gz": b""}, "*.csv.gz"),
        ({"day=1/part-00000.JSON": b'{"uri": "a.jpg"}\n', "_delta_log": b"{}"}, "**/*.JSON"),
    ],
    ids=["Parquet", "gzipped", "partitions"],
)
@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/**"])
def test_a_folder_as_spark_writes_it_holds_lists(
    tmp_path: Path, files: dict[str, bytes], ending: str, spelling: str
) -> None:
    folder = tmp_path / "export.csv"
    for name, content in (files | {"_SUCCESS": b"", "._SUCCESS.crc": b"crc"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    expected = f"{folder}/{ending}" if "*" not in spelling else f"{folder}/**{ending.lstrip('*/')}"
    assert inputs.glob_of_lists(spelling.format(folder)) == expected
    assert rows(Path(expected))


@pytest.mark.parametrize("files", [("_SUCCESS",), ("_DSC0001.JPG", "list.csv"), ("list.csv", "empty.jpg")])
def test_a_folder_of_markers_or_with_images_holds_no_lists(tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"x" if name == "list.csv" else b"")
    assert inputs.glob_of_lists(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("csv", b""), ("csv.gz", gzip.compress(b"", mtime=0)), ("csv", b"\xef\xbb\xbf\r\n"), ("jsonl", b""),
        ("txt", b""), ("parquet", b""),
    ],
)  # fmt: skip
def test_an_empty_part_of_a_glob_gives_no_rows(tmp_path: Path, name: str, empty: bytes) -> None:
    (tmp_path / f"part-0.{name}").write_bytes(empty)
    with pytest.raises(UserError, match="is empty: it names no images"):
        rows(tmp_path / f"part-0.{name}")
    assert rows(tmp_path / f"*.{name}") == []
    (tmp_path / f"part-1.{name}").write_bytes(parquet([{"uri": "/a.jpg"}]))
    assert [row.uri for row in rows(tmp_path / f"*.{name}")] == ["/a.jpg"]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "63")
    with pytest.raises(UserError, match="63 is a pipe or a device: write the list to a file"):
        rows(tmp_path / "63")


def test_a_folder_that_cannot_be_listed_is_a_bad_row_or_stops_a_glob_of_lists(
    tmp_path: Path, lock: Callable[[Path], None]
) -> None:
    for name in ("a/1.csv", "locked/2.csv", "z/3.csv"):
        storage.write_text(f"{tmp_path}/{name}", "uri\n/a.jpg\n")
    lock(tmp_path / "locked")
    found = rows(tmp_path)
    assert [row.uri for row in found] == [f"{tmp_path}/{name}" for name in ("a/1.csv", "locked", "z/3.csv")]
    assert [row.reason for row in found if isinstance(row, BadRow)] == [Reason.PERMISSION_DENIED]
    with pytest.raises(StorageError, match=r"permission_denied: the folder cannot be listed: .*/locked'"):
        rows(tmp_path / "*/*.csv")


def test_a_list_may_begin_as_a_picture_does(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("BMW/1.jpg\nBMW/2.jpg\n")
    assert len(rows(tmp_path / "list")) == 2


def test_another_column_may_name_the_image(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("uri,picture\n7,a.jpg\n")
    assert rows(file, uri_column="picture") == [good("a.jpg", f"{tmp_path}/a.jpg", {"uri": "7"})]


@pytest.mark.parametrize(
    ("base", "uri", "location"),
    [
        (None, "a b.jpg", "{tmp}/a b.jpg"),
        ("/photos", "a b.jpg", "/photos/a b.jpg"),
        ("/photos/", "../a.jpg", "/a.jpg"),
        ("gs://shop/photos", "a b.jpg", "gs://shop/photos/a b.jpg"),
        ("gs://shop/photos", "../other/./a.jpg", "gs://shop/other/a.jpg"),
        ("gs://shop/photos", "/abs.jpg", "/abs.jpg"),
        ("https://shop.example/p", "a b.jpg", "https://shop.example/p/a b.jpg"),
        ("https://shop.example/p", "/a.jpg?u=http://x//y", "https://shop.example/a.jpg?u=http://x//y"),
        ("https://shop.example/p", "//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        (None, "HTTPS://Shop.example/A.jpg", "https://Shop.example/A.jpg"),
        ("gs://shop", "s3://b/../c.jpg", "s3://b/../c.jpg"),
        (None, "file:///x/%C3%A9%20.jpg", "/x/é .jpg"),
        (None, "FILE://localhost/y.jpg", "/y.jpg"),
        (None, "file:/x/y%20z.jpg", "/x/y z.jpg"),
        (None, "file:////cdn.example/a.jpg", "/cdn.example/a.jpg"),
        ("gs://shop/photos", "file:/x/../y.jpg", "/y.jpg"),
        ("https://shop.example/p", "file:///x/y.jpg", "/x/y.jpg"),
        (None, "./file:y.jpg", "{tmp}/file:y.jpg"),
    ],
)
def test_where_a_uri_leads(tmp_path: Path, base: str | None, uri: str, location: str) -> None:
    (tmp_path / "list.txt").write_text(uri)
    (row,) = rows(tmp_path / "list.txt", base_uri=base)
    assert (row.uri, row.location) == (uri, location.format(tmp=tmp_path))


def test_an_invalid_uri_below_a_web_base_is_a_wrong_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n//[oops/b.jpg\n")
    fine, wrong = rows(tmp_path / "list.txt", base_uri="https://shop.example")
    assert (fine.location, wrong.uri) == ("https://shop.example/a.jpg", "//[oops/b.jpg")


def test_a_file_uri_that_names_no_local_file_is_a_wrong_line(tmp_path: Path) -> None:
    uris = ["file://server/a.jpg", "file:///C:/a.jpg", "file:a.jpg", "file:///caf%E9.jpg"]
    (tmp_path / "list.txt").write_text("\n".join([*uris, "/fine.jpg"]))
    for base in (None, "gs://shop", "https://shop.example"):
        *wrong, fine = rows(tmp_path / "list.txt", base_uri=base)
        assert isinstance(fine, Row)
        assert [row.uri for row in wrong if isinstance(row, BadRow)] == uris
    assert bad(tmp_path / "list.txt")[3] == (
        uris[3],
        f"line 4 of {tmp_path}/list.txt: '{uris[3]}' names a path that is not UTF-8: rename the file",
    )


def test_types_are_carried(tmp_path: Path) -> None:
    fields = {
        "n": 7, "price": decimal.Decimal("1.50"), "ok": True, "none": None, "tags": ["a", "b"], "day":
        datetime.date(2026, 11, 21), "when": datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.timezone.utc),
        "inner": {"deep": [1, None]}, "raw": b"\xff",
    }  # fmt: skip
    (tmp_path / "list.parquet").write_bytes(parquet([{"uri": "/a.jpg"} | fields]))
    (row,) = rows(tmp_path / "list.parquet")
    assert row.columns == fields
    plain = {name: value for name, value in fields.items() if name not in ("price", "day", "when", "raw")}
    (tmp_path / "list.jsonl").write_text(json.dumps({"uri": "/a.jpg", "big": 2**80} | plain))
    (row,) = rows(tmp_path / "list.jsonl")
    assert row.columns == plain | {"big": 2**80}


def test_times_of_nanoseconds_are_carried_to_the_microsecond(tmp_path: Path) -> None:
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    kinds = pa.array(["red"]).dictionary_encode()
    pq.write_table(pa.table({"uri": ["/a.jpg"], "when": times, "color": kinds}), tmp_path / "list.parquet")
    (row,) = rows(tmp_path / "list.parquet")
    assert row.columns["when"].isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert row.columns["color"] == "red"


def test_cells_that_python_cannot_hold_become_dead_letters(tmp_path: Path) -> None:
    far = pa.array([0, 10**15], pa.timestamp("s"))
    zones = pa.array([0, 0], pa.timestamp("us", "Mars/Olympus"))
    for name, column in {"when": far, "zone": zones}.items():
        pq.write_table(pa.table({"uri": ["/a.jpg", "/b.jpg"], name: column}), tmp_path / f"{name}.parquet")
    found = rows(tmp_path / "when.parquet")
    assert [type(row) for row in found] == [Row, BadRow]
    assert "row 2 of" in found[1].message
    assert len(bad(tmp_path / "zone.parquet")) == 2


def test_short_times_and_lists_of_one_length_are_carried(tmp_path: Path) -> None:
    table = pa.table(
        {
            "uri": ["/a.jpg", "/b.jpg"],
            "took": pa.array([1_500, None], pa.duration("ns")),
            "at": pa.array([3_600_000_000_000, None], pa.time64("ns")),
            "pair": pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    first, second = rows(tmp_path / "list.parquet")
    assert first.columns == {"took": datetime.timedelta(microseconds=1), "at": datetime.time(1), "pair": [1, 2]}
    assert second.columns == {"took": None, "at": None, "pair": [3, 4]}


def test_blank_lines_do_not_count_even_before_the_header(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("\n\nuri,sku\n\n/a.jpg,1\n   \n/b.jpg\n")
    first, second = rows(tmp_path / "list.csv")
    assert (first.columns, second.columns) == ({"sku": "1"}, {"sku": ""})


def test_a_first_line_in_another_encoding_is_a_dead_letter_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("größe.jpg\nb.jpg\n".encode("latin-1"))
    wrong, fine = rows(tmp_path / "list.txt")
    assert (type(wrong), wrong.message.split(" of ")[0]) == (BadRow, "line 1")
    assert fine.uri == "b.jpg"


def bad(path: Path) -> list[tuple[str, str]]:
    return [(row.uri, row.message) for row in rows(path) if isinstance(row, BadRow)]


def test_wrong_lines_of_json_become_dead_letters(tmp_path: Path) -> None:
    lines = [
        b'{"uri": "/a.jpg"}', b"", b'{"uri": "/b.jpg"', b"[1]", b'{"uri": 5}', b'{"sku": 1}', b'{"uri": null}',
        b'{"uri": "/\xe9.jpg"}', b'{"uri": "/c.jpg", "x": {"y": ["\\ud800"]}}', b'{"uri": " "}', b"[" * 100_000,
        b'{"uri": "/d.jpg"}',
    ]  # fmt: skip
    (tmp_path / "list.jsonl").write_bytes(b"\n".join(lines))
    found = bad(tmp_path / "list.jsonl")
    assert [message.partition(f" of {tmp_path}/list.jsonl")[0] for _, message in found] == [
        f"line {n}" for n in range(3, 12)
    ]
    assert [message.partition(f" of {tmp_path}/list.jsonl")[2][:25] for _, message in found] == [
        ": invalid JSON, Expecting", ": not a JSON object: [1]", ": the URI 5 is not text",
        " has no URI", " has no URI",
        " is not UTF-8", " is not UTF-8", " has no URI", ": unreadable JSON, maximu",
    ]  # fmt: skip
    assert len(rows(tmp_path / "list.jsonl")) == len(found) + 2


def test_wrong_rows_of_parquet_become_dead_letters(tmp_path: Path) -> None:
    names = pa.StringArray.from_buffers(3, *[pa.array([b"ab", b"\xff\xfe", b"cd"]).buffers()[n] for n in (1, 2)])
    table = pa.table({"uri": pa.array(["/a.jpg", "/b.jpg", None]), "name": names})
    pq.write_table(table, tmp_path / "list.parquet")
    assert bad(tmp_path / "list.parquet") == [
        ("", f"row 2 of {tmp_path}/list.parquet: not UTF-8"), ("", f"row 3 of {tmp_path}/list.parquet has no URI"),
    ]  # fmt: skip


def test_line_numbers_are_right_in_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 500)
    lines = [f'/{n}.jpg,"two\nlines, ""quoted"""' if n % 5 == 0 else f"/{n}.jpg,x" for n in range(1000)]
    starts = {}
    number = 2
    for n, line in enumerate(lines):
        starts[n] = number
        number += 1 + line.count("\n")
    wrong = [3, 250, 251, 505, 999]
    for n in wrong:
        lines[n] = "\n".join([f"/{n}.jpg,x,y", *lines[n].split("\n")[1:0]]) if n % 5 else f'/{n}.jpg,"x"\n,y,z'
    (tmp_path / "list.csv").write_text("uri,name\n" + "\n".join(lines))
    found = kinds.recognize(str(tmp_path / "list.csv"), ListColumns())
    assert len(list(parts.parts(found))) > 20
    expected = {starts[n] + (n % 5 == 0) for n in wrong}
    assert {int(message.split()[1]) for _, message in bad(tmp_path / "list.csv")} == expected
    names = {row.uri: row.columns["name"] for row in rows(tmp_path / "list.csv") if isinstance(row, Row)}
    assert [names[f"/{n}.jpg"] for n in (0, 1, 995)] == ['two\nlines, "quoted"', "x", 'two\nlines, "quoted"']


@pytest.mark.parametrize("seed", range(20))
def test_a_list_gives_the_same_rows_however_it_is_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The list has quoted cells, stray quotes, blank lines and line breaks of every kind, also within cells."""
    chance = random.Random(seed)
    pieces = ['"', '""', ",", "\n", "\r\n", "a.jpg", "x", " ", 'b,"c\nd"', "\n\n", 'e,"f', "\r", 'g,"h\ri"', "ö"]
    text = "uri,name\n" + "".join(chance.choices(pieces, weights=[1, 1, 6, 8, 1, 8, 4, 1, 2, 1, 1, 2, 1, 1], k=3000))
    (tmp_path / "list.csv").write_text(text, newline="")
    monkeypatch.setattr(values, "BATCH_ROWS", chance.choice([1, 7, 1000]))
    whole = rows(tmp_path / "list.csv")
    monkeypatch.setattr(parts, "PART_BYTES", chance.choice([1, 50, 400]))
    assert rows(tmp_path / "list.csv") == whole
    assert sum(isinstance(row, Row) for row in whole) > 50


def two_columns() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["uri", "x", "x"]), buffer)
    return buffer.getvalue()


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "JSON": ("list.json", b'[{"uri": "a.jpg"}]', "is one JSON value: write JSON Lines"),
    "JSON in JSON Lines": ("list.jsonl", b'[{"uri": "a.jpg"}]', "is one JSON value: write JSON Lines"),
    "Latin-1": ("list.csv", "uri;größe\n".encode("latin-1"), "is not UTF-8 in its first line: save it as UTF-8"),
    "a spreadsheet": ("list.xlsx", b"PK\3\4\x14\0", "is a spreadsheet or another zip file: save it as CSV"),
    "Latin-1 at the end": (
        "list.tsv",
        ("uri\t" + "a" * 60 + "\tgröße\n").encode("latin-1"),
        "is not UTF-8 in its first",
    ),
    "two columns": ("list.parquet", two_columns(), "has two columns of the same name: uri, x, x"),
    "nothing": ("list.jsonl", b"", "is empty: it names no images"),
    "no such key": (
        "list.jsonl",
        b'{"url": "a.jpg"}\n{"sku": 1}\n',
        "has no column 'uri', only url, sku; choose another with --uri-column",
    ),
    "no such column": (
        "list.parquet",
        parquet([{"url": "a"}]),
        "has no column 'uri', only url; choose another with --uri-column",
    ),
    "gzipped Parquet": ("list.parquet.gz", gzip.compress(parquet(ROWS)), "is a gzipped Parquet file: unpack it"),
    "half a Parquet": ("list.parquet", parquet(ROWS)[:-50], "is not a complete Parquet file"),
    "not Parquet": ("list.parquet", b"uri\n", "is not a Parquet file, despite its extension: rename it"),
    "half a gzip": ("list.csv.gz", gzip.compress(delimited(","))[:40], "is truncated or damaged"),
    "commas in a TSV": ("list.tsv", b"uri,sku\n", "has no column 'uri', only uri,sku"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_not_lists_are_refused_before_anything_starts(tmp_path: Path, case: str) -> None:
    name, content, words = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        rows(tmp_path / name)


def first_rows(path: Path) -> Iterator[Row | BadRow]:
    (part,) = inputs.parts_of(str(path), ListColumns())
    return inputs.rows(part, ListColumns())


def test_a_gzip_that_is_cut_short_ends_the_run(tmp_path: Path) -> None:
    data = gzip.compress("".join(f"{random.random()}.jpg\n" for _ in range(50_000)).encode())
    (tmp_path / "list.txt.gz").write_bytes(data[: len(data) // 2])
    assert isinstance(next(first_rows(tmp_path / "list.txt.gz")), Row)
    with pytest.raises(UserError, match="is truncated or damaged"):
        rows(tmp_path / "list.txt.gz")


EXPORTS: dict[str, tuple[bytes, bytes]] = {
    "list.csv": (b"uri,sku\n" + b"/old.jpg,0017\n" * 300, b"sku,uri\n" + b"0017,/new.jpg\n" * 300),
    "list.csv.gz": (gzip.compress(b"uri,sku\n/old.jpg,1\n"), gzip.compress(b"sku,uri\n1,/new.jpg\n" * 9)),
    "list.jsonl": (b'{"uri": "/old.jpg"}\n' * 300, b'{"uri": "/new.jpg"}\n' * 150),
    "list.txt": (b"/old.jpg\n" * 300, b""),
    "list.parquet": (
        parquet([{"uri": "/old.jpg"}] * 300, row_group_size=100),
        parquet([{"uri": "/new.jpg"}] * 900, row_group_size=100),
    ),
}


def changed_list(path: str, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Divide a list into parts, then replace it with another export of the same name, as a nightly job would."""
    monkeypatch.setattr(parts, "PART_BYTES", 1000)
    old, new = EXPORTS[path.rpartition("/")[2]]
    storage.write_bytes(path, old)
    found = [part for part in inputs.parts_of(path, ListColumns()) if isinstance(part, Part)]
    assert sum(1 for part in found for _ in inputs.rows(part, ListColumns())) == (1 if path.endswith(".gz") else 300)
    storage.write_bytes(path, new)
    return found


@pytest.mark.parametrize("name", EXPORTS)
def test_a_list_that_is_replaced_between_its_parts_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for part in changed_list(f"{tmp_path}/{name}", monkeypatch):
        with pytest.raises(UserError, match=f"{name} changed while it was being read: wait until it is complete"):
            next(inputs.rows(part, ListColumns()))


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_an_object_that_is_replaced_between_its_parts_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, name: str, open_object_store: Callable[[str], Any]
) -> None:
    part, *_ = changed_list(f"{open_object_store('s3').root}/{name}", monkeypatch)
    with pytest.raises(UserError, match=f"{name} changed while it was being read"):
        next(inputs.rows(part, ListColumns()))


def test_a_hard_link_or_new_permissions_are_no_change_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"uri\n" + b"/old.jpg\n" * 100_000)
    found = first_rows(path)
    assert isinstance(next(found), Row)
    os.link(path, tmp_path / "backup.csv")
    path.chmod(0o640)
    assert sum(1 for _ in found) == 99_999


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"uri\n" * 100_000), Path.unlink])
def test_a_list_that_changes_while_a_part_is_open_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"uri\n" + b"/old.jpg\n" * 100_000)
    found = first_rows(path)
    assert isinstance(next(found), Row)
    change(path)
    with pytest.raises(UserError, match="changed while it was being read"):
        list(found)
    monkeypatch.setattr(parts, "PART_BYTES", 1000)
    path.write_bytes(b"uri\n" + b"/old.jpg\n" * 100_000)
    divided = inputs.parts_of(str(path), ListColumns())
    assert isinstance(next(divided), Part)
    change(path)
    with pytest.raises(UserError, match="changed while it was being read"):
        list(divided)


@pytest.mark.parametrize("end", ["\n", "\r"], ids=["LF", "CR"])
def test_only_a_part_is_held_in_memory(tmp_path: Path, peak_of: Callable[[str, Path], int], end: str) -> None:
    """Read a list of 60 MB and one a tenth that size, each in its own process."""
    body = """
from catalogue.lists import inputs
from catalogue.lists.values import ListColumns, Part
columns = ListColumns()
count = sum(1 for part in inputs.parts_of(sys.argv[1], columns) for _ in inputs.rows(part, columns))
"""
    peaks = []
    for count in (200_000, 2_000_000):
        (tmp_path / "list.txt").write_text(
            "".join(f"gs://shop/photos/{n:09}.jpg{end}" for n in range(count)), newline=""
        )
        peaks.append(peak_of(body, tmp_path / "list.txt"))
    assert peaks[1] - peaks[0] < 3 * parts.PART_BYTES


LOCAL_FILES = [
    "file:/etc/passwd", "FILE://LOCALHOST/etc/passwd", "file:////etc/passwd", "file:///%2Fetc/passwd",
    "file:/photos/%2E%2E/etc/passwd", "file:///photos%2F../etc/passwd", "File:/%65tc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("base_uri", [None, "gs://shop", "https://shop.example", "/photos"])
def test_a_remote_list_names_no_local_file_by_a_file_uri(
    base_uri: str | None, open_object_store: Callable[[str], Any]
) -> None:
    root = open_object_store("s3").root
    refused = [*LOCAL_FILES, "file://server/a.jpg", "file:a.jpg", "file:///C:/a.jpg", "file:///caf%E9.jpg"]
    storage.write_text(f"{root}/list.csv", "\n".join(["uri", *refused, "https://cdn.example/a.jpg"]))
    (part,) = inputs.parts_of(f"{root}/list.csv", ListColumns())
    *found, fine = inputs.rows(part, ListColumns(), base_uri)
    assert isinstance(fine, Row)
    assert [row.uri for row in found if isinstance(row, BadRow)] == refused


@pytest.mark.parametrize(
    ("base_uri", "access", "allowed"),
    [
        (None, Access(), ["a.jpg", "gs://other/b.jpg"]),
        ("/photos", Access(), ["a.jpg", "gs://other/b.jpg", "/photos/c.jpg"]),
        (None, Access(("/photos", "gs://other")), ["a.jpg", "gs://other/b.jpg", "/photos/c.jpg"]),
    ],
)
def test_a_remote_list_names_no_local_files(
    base_uri: str | None, access: Access, allowed: list[str], open_object_store: Callable[[str], Any]
) -> None:
    """The author of a remote list may not be allowed to read the files of the machine that processes it."""
    root = open_object_store("s3").root
    uris = ["a.jpg", "gs://other/b.jpg", "/photos/c.jpg", "/photos/../etc/passwd", "/etc/passwd", "file:///etc/passwd"]
    uris += [*LOCAL_FILES]
    uris += ["../../../../etc/passwd"] if base_uri else []
    storage.write_text(f"{root}/list.csv", "\n".join(["uri", *uris]))
    (part,) = inputs.parts_of(f"{root}/list.csv", ListColumns())
    found = list(inputs.rows(part, ListColumns(), base_uri, access))
    assert [row.uri for row in found if isinstance(row, inputs.Row)] == allowed
    refused = {row.uri: row.message for row in found if isinstance(row, inputs.BadRow)}
    assert list(refused) == [uri for uri in uris if uri not in allowed]
    assert all(message.endswith(": a remote list must not name a local file") for message in refused.values())
