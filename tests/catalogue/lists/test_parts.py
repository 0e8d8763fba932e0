from __future__ import annotations

from pathlib import Path

import pytest

from catalogue.lists import kinds, parts
from catalogue.lists.values import ListColumns, Part, Record

CONTENTS = {
    "list.txt": "ä.jpg\rb.jpg\r\rc.jpg\rd.jpg\r",
    "list.csv": "uri,name\rä.jpg,1\rb.jpg,2\r\rc.jpg,3\rd.jpg,4\r",
    "quoted.csv": 'uri,name\rä.jpg,"1\r2"\rb.jpg,"3\r\r4"\rc.jpg,5\rd.jpg,6',
    "open.csv": 'uri,name\rä.jpg,"1\rb.jpg,"2\rc.jpg,3\rd.jpg,4\r',
    "list.jsonl": '{"uri": "ä.jpg"}\r{"uri": "b.jpg"}\r\r{"uri": "c.jpg"}\r{"uri": "d.jpg"}\r',
}


def records(path: Path) -> list[list[Record]]:
    found = kinds.recognize(str(path), ListColumns())
    assert found is not None
    return [list(parts.records(part, ListColumns())) for part in parts.parts(found)]


@pytest.mark.parametrize("name", CONTENTS)
def test_lines_that_end_with_cr_give_the_same_records_however_the_list_is_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Parts have every possible size: some would end between the CR and the LF of a line ending."""
    (tmp_path / name).write_text(CONTENTS[name], encoding="utf-8", newline="")
    (whole,) = records(tmp_path / name)
    assert len(whole) == 4
    assert whole[-1].columns["uri"] == "d.jpg"
    most = 0
    for size in range(1, len(CONTENTS[name])):
        monkeypatch.setattr(parts, "PART_BYTES", size)
        divided = records(tmp_path / name)
        assert [record for part in divided for record in part] == whole
        most = max(most, len(divided))
    assert most >= 3


def test_a_cr_outside_quotes_is_a_bad_row_where_lines_end_with_lf(tmp_path: Path) -> None:
    """Python's csv writer and pandas may leave a CR unquoted; splitting there would turn one row into two."""
    content = 'uri,name,sku\na.jpg,hello\rworld,7\nb.jpg,"2\r3",8\n'
    (tmp_path / "list.csv").write_text(content, newline="")
    (found,) = records(tmp_path / "list.csv")
    assert [record.columns for record in found] == [{}, {"uri": "b.jpg", "name": "2\r3", "sku": "8"}]
    assert found[0].problem.startswith("a carriage return outside quotes, in a list whose lines end with line feeds: ")
    assert [record.number for record in found] == [2, 3]


def test_parts_touch_each_other_and_cover_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 50)
    content = "\ufeff\r\nuri,name\r\n" + "".join(f'ä{number}.jpg,"x\r\ny"\r\n' for number in range(100))
    (tmp_path / "list.csv").write_text(content, encoding="utf-8", newline="")
    found = kinds.recognize(str(tmp_path / "list.csv"), ListColumns())
    assert found is not None
    divided: list[Part] = list(parts.parts(found))
    assert [part.start for part in divided[1:]] == [part.end for part in divided[:-1]]
    assert (divided[0].start, divided[-1].end) == (len("\ufeff\r\nuri,name\r\n".encode()), len(content.encode()))
