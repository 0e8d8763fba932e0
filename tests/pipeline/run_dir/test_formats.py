from __future__ import annotations

import csv
import datetime
import decimal
import json
import pickle
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from catalogue.lists import kinds
from catalogue.lists.cells import as_cell, as_json
from catalogue.lists.values import ListColumns
from pipeline.records import OUTPUT_FORMATS, Prediction
from pipeline.run_dir import columns, formats
from pipeline.run_dir.columns import ColumnTypes, unified
from pipeline.run_dir.layout import PREDICTIONS
from tests.arrow_columns import CONTAINERS, ID, LEAVES, column

WHEN = datetime.datetime(2026, 11, 21, 12, 30, tzinfo=datetime.timezone.utc)
FIELDS: list[dict[str, Any]] = [
    {"sku": "007", "n": 1, "price": 1.5, "tags": ["a", "b"], "inner": {"x": 1}, "label": "mine"},
    {"sku": None, "n": None, "price": 2, "tags": [], "inner": None, "label": 'a "quoted", one\nin two lines'},
    {"n": -7, "sku": "=1+1"},
]
TOP = (("hat", 0.75), ("dress", 0.25))


def prediction(number: int, fields: dict[str, Any]) -> Prediction:
    return Prediction(f"{number}.jpg", "hat", 0.75, TOP, "model", "hash", fields)


def columns_of(rows: list[dict[str, Any]]) -> pa.Schema:
    types = ColumnTypes()
    for fields in rows:
        types.add(fields)
    return types.schema()


def written(path: Path, rows: list[dict[str, Any]], columns: pa.Schema | None = None) -> Path:
    writer = formats.writer(str(path), PREDICTIONS, columns or columns_of(rows), 2)
    for number, fields in enumerate(rows):
        writer.write(prediction(number, fields).to_row())
    writer.close()
    return path


def test_json_lines_are_the_rows(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", FIELDS)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        prediction(number, fields).to_row() for number, fields in enumerate(FIELDS)
    ]


def test_json_has_a_form_for_every_type(tmp_path: Path) -> None:
    fields = {
        "when": WHEN, "day": WHEN.date(), "price": decimal.Decimal("1.50"), "raw": b"\xff\0", "none": float("nan"),
        "inner": [{"x": float("inf")}, (1, 2)], "big": 2**80,
    }  # fmt: skip
    (line,) = written(tmp_path / "a.jsonl", [fields], pa.schema([])).read_text().splitlines()
    assert json.loads(line)["fields"] == {
        "when": "2026-11-21T12:30:00+00:00", "day": "2026-11-21", "price": "1.50", "raw": "/wA=", "none": None,
        "inner": [{"x": None}, [1, 2]], "big": 2**80,
    }  # fmt: skip


def test_parquet_is_typed_and_nested(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path / "a.parquet", FIELDS))
    assert table.schema.field("score").type == pa.float32()
    fields = {field.name: field.type for field in table.schema.field("fields").type}
    assert (fields["sku"], fields["n"], fields["price"]) == (pa.string(), pa.int64(), pa.float64())
    assert fields["inner"] == pa.struct([("x", pa.int64())])
    for number, row in enumerate(table.to_pylist()):
        assert row.pop("fields") == {name: FIELDS[number].get(name) for name in fields}
        expected = prediction(number, {}).to_row()
        del expected["fields"]
        assert row == expected


def test_the_types_of_a_parquet_manifest_are_kept(tmp_path: Path) -> None:
    columns = pa.schema([("n", pa.int16()), ("price", pa.decimal128(9, 2)), ("when", pa.timestamp("ms", "UTC")),
                         ("raw", pa.binary()), ("x", pa.float32()), ("none", pa.null())])  # fmt: skip
    fields = {"n": 7, "price": decimal.Decimal("1.50"), "when": WHEN, "raw": b"\xff", "x": 0.5, "none": None}
    table = pq.read_table(written(tmp_path / "a.parquet", [fields], columns))
    found = table.schema.field("fields").type
    assert [field.type for field in found] == [*columns.types[:-1], pa.string()]
    assert table["fields"].to_pylist() == [fields]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("leaf", LEAVES)
def test_every_type_of_a_parquet_manifest_can_be_written(tmp_path: Path, leaf: str, container: str) -> None:
    array, values = column(leaf, container)
    manifest = str(tmp_path / "list.parquet")
    pq.write_table(pa.table({"uri": ["/a.jpg", "/b.jpg"], "x": array}), manifest)
    rows = [{"x": value} for value in values]
    types = ColumnTypes(kinds.recognize(manifest, ListColumns()).schema)
    for form in OUTPUT_FORMATS:
        written(tmp_path / f"out.{form}", rows, types.schema())
    found = pq.read_table(tmp_path / "out.parquet")["fields"].to_pylist()
    if leaf == "UUID" and container != "alone":  # PyArrow cannot build this type within other types
        assert found[0] == {"x": CONTAINERS[container][1](ID.bytes)}
    else:
        assert found == rows
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["fields"] for line in lines] == [json.loads(as_json(row)) for row in rows]


def test_a_column_of_several_types_is_text(tmp_path: Path) -> None:
    rows = [{"size": 40, "big": 2**80}, {"size": "XL", "big": 1}, {"size": [1], "empty": {}}]
    fields = pq.read_table(written(tmp_path / "a.parquet", rows))["fields"].to_pylist()
    assert [row["size"] for row in fields] == ["40", "XL", "[1]"]
    assert [row["big"] for row in fields] == [str(2**80), "1", None]
    assert [row["empty"] for row in fields] == [None, None, "{}"]


NUMBERS = {
    "small integers and fractions": ([{"x": 5}], [{"x": 0.5}], [5.0, 0.5]),
    "too large for a double": ([{"x": 2**53 + 1}], [{"x": 0.5}], [str(2**53 + 1), "0.5"]),
    "within lists": ([{"x": [2**53 + 1]}], [{"x": [0.5]}], [f"[{2**53 + 1}]", "[0.5]"]),
    "later struct members": ([{"x": {"a": 1}}], [{"x": {"b": "c"}}], [{"a": 1, "b": None}, {"a": None, "b": "c"}]),
    "empty lists": ([{"x": []}], [{"x": ["a"]}], [[], ["a"]]),
    "nothing at first": ([{"x": None}], [{"x": True}], [None, True]),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_no_value_of_json_is_changed_by_the_type_of_its_column(tmp_path: Path, case: str) -> None:
    first, second, expected = NUMBERS[case]
    columns = unified([columns_of(first), columns_of(second)])
    table = pq.read_table(written(tmp_path / "a.parquet", [*first, *second], columns))
    assert [row["x"] for row in table["fields"].to_pylist()] == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.int64(), pa.float64(), pa.string()),
        (pa.int32(), pa.float64(), pa.float64()),
        (pa.int16(), pa.int64(), pa.int64()),
        (pa.uint64(), pa.int64(), pa.string()),
        (pa.uint64(), pa.decimal128(9, 2), pa.string()),
        (pa.decimal128(9, 2), pa.float64(), pa.string()),
        (pa.string(), pa.binary(), pa.string()),
        (pa.timestamp("us"), pa.date32(), pa.string()),
    ],
)
def test_types_of_parquet_are_widened_only_where_nothing_is_lost(
    one: pa.DataType, other: pa.DataType, expected: pa.DataType
) -> None:
    for pair in ((one, other), (other, one)):
        assert unified([pa.schema([("x", kind)]) for kind in pair]).field("x").type == expected


def test_cells_with_line_ends_stay_cells(tmp_path: Path) -> None:
    values = ["x\ry", "\r=1+1", "a\nb", "a\r\nb", '"', ",", "\r"]
    file = written(tmp_path / "a.csv", [{"x": value} for value in values])
    with file.open(newline="") as opened:
        read = [row["fields.x"] for row in csv.DictReader(opened)]
    assert read == ["x\ry", "'\r'=1+1", *values[2:-1], "'\r"]
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    assert pyarrow.csv.read_csv(file, parse_options=options)["fields.x"].to_pylist() == read


def test_types_of_two_manifests_that_do_not_agree_are_plain_text(tmp_path: Path) -> None:
    day, price = WHEN.date(), decimal.Decimal("5.99")
    typed = pa.schema([("day", pa.date32()), ("price", pa.decimal128(8, 2)), ("raw", pa.binary()), ("ok", pa.bool_())])
    plain = pa.schema([(name, pa.string()) for name in typed.names])
    values = [
        dict(zip(typed.names, row, strict=True)) for row in ((day, price, b"ab", True), ("x", "6.99", "AAA", "y"))
    ]
    for order in ([typed, plain], [plain, typed]):
        table = pq.read_table(written(tmp_path / "a.parquet", values, unified(order)))
        assert [list(row.values()) for row in table["fields"].to_pylist()] == [
            ["2026-11-21", "5.99", "YWI=", "true"], ["x", "6.99", "AAA", "y"],
        ]  # fmt: skip


def test_parquet_without_other_columns_has_no_fields(tmp_path: Path) -> None:
    assert "fields" not in pq.read_schema(written(tmp_path / "a.parquet", [{}, {}])).names


def test_csv_is_flat_and_its_header_says_how(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", FIELDS)
    table = pyarrow.csv.read_csv(
        file, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types={"fields.sku": pa.string()}),
    )  # fmt: skip
    assert table.column_names == [
        "uri", "label", "score", "top.1.label", "top.1.score", "top.2.label", "top.2.score", "model_id",
        "content_hash", "fields.sku", "fields.n", "fields.price", "fields.tags", "fields.inner", "fields.label",
    ]  # fmt: skip
    first, second, third = table.to_pylist()
    assert (first["top.2.label"], first["top.2.score"], first["score"]) == ("dress", 0.25, 0.75)
    assert (first["fields.sku"], first["fields.n"], first["fields.price"]) == ("007", 1, 1.5)
    assert (first["fields.tags"], first["fields.inner"]) == ('["a", "b"]', '{"x": 1}')
    assert (second["fields.n"], second["fields.label"]) == (None, FIELDS[1]["label"])
    assert (third["fields.n"], third["fields.sku"]) == (-7, "'=1+1")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-1+1", "'-1+1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("＝1", "'＝1"),
        ("-inf", "'-inf"),
        ("-5", "-5"),
        ("+4.5e-7", "+4.5e-7"),
        ("a=b", "a=b"),
        ("", ""),
        (-5, -5),
        (True, "true"),
        (None, None),
        ({"=a": "=b"}, '{"=a": "=b"}'),
        (WHEN, "2026-11-21T12:30:00+00:00"),
    ],
)
def test_no_cell_is_a_formula(value: Any, cell: Any) -> None:
    assert as_cell(value) == cell


@pytest.mark.parametrize(
    "text",
    [
        'a;"=1+1;',
        '"=1',
        'x\n"+1',
        "a;=1+1",
        "a|@b",
        "a\t-b",
        "a\n=1",
        "a\r\n+b",
        ";=1",
        "'=1;''=1",
        "x;-2;3",
        "\t=1",
        "'\t=1",
        "a;b",
        "=1;=1;;=1",
        "-1",
    ],
)
def test_no_cell_holds_a_formula_whatever_the_separator_and_all_can_be_read_back(text: str, tmp_path: Path) -> None:
    """Programs that split at ``;``, ``|`` or tabs ignore the quotes around a cell."""
    file = written(tmp_path / "a.csv", [{text: text}])
    for separator in ",;|\t":
        for row in csv.reader(file.read_text().splitlines(), delimiter=separator):
            for piece in row:
                assert not piece.startswith(("=", "+", "@")), piece
                assert not piece.startswith("-") or piece.lstrip("-").isdigit(), piece
    with file.open(newline="") as opened:
        *_, cell = list(csv.reader(opened))[1]
    marks = re.compile(r"(^|[;|\t\r\n])'(?='*\"*[=+\-@])|^'(?='*[\t\r\n])")
    assert marks.sub(lambda found: found[1] or "", cell) == text


def test_columns_keep_their_order_where_there_is_one() -> None:
    def names(*tables_: list[str]) -> list[str]:
        return unified([pa.schema([(name, pa.string()) for name in own]) for own in tables_]).names

    assert names(["b", "a"], ["b"], [], ["b", "a"]) == ["b", "a"]
    assert names(["b"], ["b", "a"]) == ["b", "a"]
    assert names(["b", "a"], ["a", "b"]) == ["a", "b"]
    assert names() == []


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_a_file_without_rows_can_be_read(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"none.{form}"
    formats.writer(str(file), PREDICTIONS, pa.schema([("sku", pa.string())]), 2).close()
    if form == "parquet":
        assert pq.read_table(file).num_rows == 0
        assert "fields" in pq.read_schema(file).names
    else:
        lines = file.read_text().splitlines()
        assert len(lines) == (form == "csv")


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("nested", [False, True])
def test_rows_with_columns_of_their_own_take_the_memory_of_their_values(
    tmp_path: Path, form: str, nested: bool
) -> None:
    """With one column per name, ten thousand rows would have a hundred million cells."""

    def peak(count: int) -> int:
        rows = [{"sku": n, f"key {n}": n} for n in range(count)]
        rows = [{"attributes": fields} for fields in rows] if nested else rows
        tracemalloc.start()
        file = written(tmp_path / f"{count}.{form}", rows)
        found = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes()
        tracemalloc.stop()
        if form == "csv":
            with file.open(newline="") as lines:
                values = [row["fields.attributes" if nested else "fields"] for row in csv.DictReader(lines)]
        else:
            values = pq.read_table(file)["fields"].to_pylist()
            values = [value["attributes"] for value in values] if nested else values
        assert [json.loads(value) for value in values] == [row["attributes"] if nested else row for row in rows]
        return found

    assert peak(20_000) < 3 * peak(10_000)


def test_how_many_columns_there_may_be(tmp_path: Path) -> None:
    most = [{f"c{n}": n for n in range(columns.MOST_COLUMNS)}]
    assert len(columns_of(most)) == columns.MOST_COLUMNS
    assert columns.are_too_many(columns_of([*most, {"one more": 1}]))
    assert columns.are_too_many(pickle.loads(pickle.dumps(unified([columns_of(most), columns_of([{"one more": 1}])]))))
    nested = [{"a": {f"k{n}": n}} for n in range(1500)]
    halves = [columns_of(nested[:750]), columns_of(nested[750:])]
    assert all(pa.types.is_struct(half.field("a").type) for half in halves)
    assert pa.types.is_string(unified(halves).field("a").type), "the limit of columns holds for members, too"
    assert columns.are_too_many(unified([columns.TOO_MANY, columns_of([{"a": 1}])]))
    assert columns.are_too_many(ColumnTypes(pa.schema([(f"c{n}", pa.int8()) for n in range(1001)])).schema())
