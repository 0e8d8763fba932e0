from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogue.lists import inputs, kinds
from catalogue.lists.cells import as_json
from catalogue.lists.inputs import BadRow, Row
from catalogue.lists.values import ListColumns
from tests.arrow_columns import CONTAINERS, LEAVES, column
from trainer.data.examples import find_examples

COLUMNS = ListColumns()


def rows(path: Path, columns: ListColumns = COLUMNS) -> list[Any]:
    return [row for part in inputs.parts_of(str(path), columns) for row in inputs.rows(part, columns)]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("leaf", LEAVES)
def test_every_type_is_carried_at_every_level(tmp_path: Path, leaf: str, container: str) -> None:
    array, values = column(leaf, container)
    pq.write_table(pa.table({"uri": ["/a.jpg", "/b.jpg"], "x": array}), tmp_path / "list.parquet")
    found, expected = [row.columns for row in rows(tmp_path / "list.parquet")], [{"x": value} for value in values]
    assert found == expected
    assert as_json(found) == as_json(expected)  # JSON, unlike ==, distinguishes true from 1


def test_nulls_and_later_batches_of_a_row_group_are_cast_in_place(tmp_path: Path) -> None:
    values = [[datetime.datetime(2026, 11, 21), None], [None, None], [None, datetime.datetime(2026, 11, 22)]] * 700
    table = pa.table(
        {
            "uri": [f"/{number}.jpg" for number in range(2100)],
            "x": pa.array(values, pa.list_(pa.timestamp("ns"), 2)),
            "y": pa.StructArray.from_arrays([pa.array(values, pa.list_(pa.timestamp("ns"), 2))], ["a"]),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet", row_group_size=1500)
    assert [row.columns for row in rows(tmp_path / "list.parquet")] == [{"x": one, "y": {"a": one}} for one in values]


BINARY = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(6), pa.dictionary(pa.int32(), pa.binary())]


@pytest.mark.parametrize("kind", BINARY, ids=str)
def test_text_that_is_not_marked_as_such_is_text_in_columns_that_need_it(tmp_path: Path, kind: pa.DataType) -> None:
    """Impala writes text as plain binary. The binary values of other columns may be any bytes."""
    values = pa.array([b"/a.jpg", b"/\xff.jpg", None], pa.binary(6)).cast(pa.binary()).cast(kind)
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": values, "label": values}), path)
    first, second, third = rows(path)
    assert first == Row("/a.jpg", "/a.jpg", {"label": b"/a.jpg"}, f"row 1 of {path}")
    assert isinstance(second, BadRow)
    assert (second.message, third.message) == (f"row 2 of {path}: not UTF-8", f"row 3 of {path} has no URI")
    pq.write_table(pa.table({"uri": values, "label": values}).slice(0, 1), path)
    assert [(example.uri, example.label) for example in find_examples(str(path))] == [("/a.jpg", "/a.jpg")]
    assert kinds.recognize(str(path), ListColumns(label="label")).schema == pa.schema([("label", pa.string())])


def test_a_list_of_uris_may_be_binary_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": [[b"/a.jpg", None, b"/b.jpg"]]}), tmp_path / "list.parquet")
    found = rows(tmp_path / "list.parquet", ListColumns(separator="|"))
    assert [row.uri for row in found] == ["/a.jpg", "/b.jpg"]
