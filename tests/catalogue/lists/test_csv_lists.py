"""CSV cells that exceed the limit of Python's csv module or our own, and stray quotes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue.lists import csv_lists, inputs, parts
from catalogue.lists.inputs import BadRow, Row
from catalogue.lists.values import ListColumns


def read(path: Path) -> list[Row | BadRow]:
    columns = ListColumns()
    found = [row for part in inputs.parts_of(str(path), columns) for row in inputs.rows(part, columns)]
    return [row for row in found if isinstance(row, (Row, BadRow))]


@pytest.mark.parametrize("size", [131_073, 5_000_000])
@pytest.mark.parametrize("between", ["", "\n", '""'], ids=["one line", "many lines", "quotes"])
def test_a_description_may_be_long(tmp_path: Path, size: int, between: str) -> None:
    text = between.join(["word " * 20] * (size // 100 + 1))
    (tmp_path / "list.csv").write_text(f'uri,text,sku\na.jpg,"{text}",1\nb.jpg,short,2\n')
    first, second = read(tmp_path / "list.csv")
    assert isinstance(first, Row)
    assert (first.uri, first.columns) == ("a.jpg", {"text": text.replace('""', '"'), "sku": "1"})
    assert isinstance(second, Row)
    assert (second.uri, second.columns) == ("b.jpg", {"text": "short", "sku": "2"})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit cells to 1,000 characters."""
    before = csv_lists.csv.field_size_limit(1000)
    monkeypatch.setattr(csv_lists, "MAX_CELL", 1000)
    yield
    csv_lists.csv.field_size_limit(before)


@pytest.mark.parametrize("lines", [2, 30, 5000])
@pytest.mark.parametrize("part_bytes", [100, 1 << 20])
@pytest.mark.usefixtures("small")
def test_the_lines_of_a_cell_beyond_the_limit_are_one_wrong_row(
    tmp_path: Path, lines: int, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the list is divided, the lines within the cell yield no rows, though they look like rows."""
    monkeypatch.setattr(parts, "PART_BYTES", part_bytes)
    cell = "".join(f"inner{number}.jpg,{'x' * (2000 // lines)}\n" for number in range(lines))
    (tmp_path / "list.csv").write_text(f'uri,text\na.jpg,1\nb.jpg,"{cell}"\nc.jpg,2\nd.jpg,"{cell}"\n')
    found = read(tmp_path / "list.csv")
    assert [row.uri for row in found if isinstance(row, Row)] == ["a.jpg", "c.jpg"]
    wrong = [row.message for row in found if isinstance(row, BadRow)]
    assert [message.partition(" of ")[0] for message in wrong] == ["line 3", f"line {5 + lines}"]
    assert all("a cell has more than" in message for message in wrong)


@pytest.mark.usefixtures("small")
def test_a_cell_beyond_the_limit_on_one_line_is_one_wrong_row(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"uri,text\na.jpg,1\nb.jpg,{'x' * 2000}\nc.jpg,2\n")
    first, wrong, last = read(tmp_path / "list.csv")
    assert isinstance(wrong, BadRow)
    assert "line 3" in wrong.message
    assert "a cell has more than" in wrong.message
    assert (first.uri, last.uri) == ("a.jpg", "c.jpg")


@pytest.mark.parametrize("part_bytes", [100, 1 << 20])
@pytest.mark.usefixtures("small")
def test_a_quote_that_is_never_closed_costs_its_own_line_only(
    tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", part_bytes)
    lines = [f"{number}.jpg,{number}" for number in range(3000)]
    lines[10] = '10.jpg,"10'
    (tmp_path / "list.csv").write_text("\n".join(["uri,text", *lines]))
    found = read(tmp_path / "list.csv")
    assert [row.uri for row in found if isinstance(row, Row)] == [f"{n}.jpg" for n in range(3000) if n != 10]
    (wrong,) = (row for row in found if isinstance(row, BadRow))
    assert "line 12" in wrong.message
    assert "a quote is not closed" in wrong.message


@pytest.mark.parametrize("part_bytes", [100, 1 << 20])
@pytest.mark.parametrize("between", range(95, 125))
@pytest.mark.usefixtures("small")
def test_two_stray_quotes_far_apart_cost_their_own_lines_only(
    tmp_path: Path, part_bytes: int, between: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text between the quotes exceeds the limit but is not a cell: each quote opens a cell of its own."""
    monkeypatch.setattr(parts, "PART_BYTES", part_bytes)
    lines = [f"{number}.jpg,{number % 10}" for number in range(400)]
    for number in (10, 10 + between):
        lines[number] = f'{number}.jpg,"9 inch'
    lines[300] = '300.jpg,"a quoted cell"'
    (tmp_path / "list.csv").write_text("\n".join(["uri,text", *lines]))
    found = read(tmp_path / "list.csv")
    wrong = {10, 10 + between}
    assert [row.uri for row in found if isinstance(row, Row)] == [f"{n}.jpg" for n in range(400) if n not in wrong]
    assert len([row for row in found if isinstance(row, BadRow)]) == 2


def test_many_bad_quotes_take_no_longer_than_their_lines() -> None:
    start = time.monotonic()
    found = list(csv_lists.csv_records((f'x{number},"a"b\n' for number in range(60_000)), ","))
    assert all(record.problem for record in found)
    assert len(found) == 60_000
    assert time.monotonic() - start < 10  # a quadratic version took longer


def test_long_cells_are_not_buffered_by_the_thousand(peak_of: Callable[[str, Path], int], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("".join(f"{number}.jpg,{'x' * 1_000_000}\n" for number in range(300)))
    body = """
from catalogue.lists.csv_lists import csv_records
with open(sys.argv[1]) as file:
    assert sum(1 for record in csv_records(file, ",")) == 300
"""
    assert peak_of(body, tmp_path / "list.csv") < 250 << 20
