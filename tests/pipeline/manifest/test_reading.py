from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogue.cli.errors import UserError
from catalogue.lists import inputs
from catalogue.reasons import Reason, StorageError
from pipeline.manifest import reading as manifest
from pipeline.manifest.reading import Manifest, ReadManifest
from pipeline.metering.meter import MeterHandle
from pipeline.records import DeadLetter, FinishedImage, LeftOut, ManifestRow, total_left_out


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")


def rows(where: object, **options: object) -> list[ManifestRow | DeadLetter]:
    found = manifest.rows(str(where), Manifest((str(where),), **options))  # type: ignore[arg-type]
    plain = [one for row in found for one in (row.dead_letters() if isinstance(row, FinishedImage) else [row])]
    return [row for row in plain if not isinstance(row, LeftOut)]


def left_out(where: object, **options: object) -> LeftOut:
    found = manifest.rows(str(where), Manifest((str(where),), **options))  # type: ignore[arg-type]
    return total_left_out(row for row in found if isinstance(row, LeftOut))


def uris(where: object) -> list[str]:
    return [row.uri for row in rows(where) if isinstance(row, ManifestRow)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos [2019]"  # brackets in the name of an existing folder are literal
    make(folder, "a.jpg", "b.PNG", ".hidden.jpg", "notes.txt", "deep/er/c.jpg", "deep/.cache/d.jpg", "deep/e.jpg")
    return folder


def test_a_folder_gives_every_file_below_it_but_those_with_a_dot(photos: Path) -> None:
    expected = {"a.jpg", "b.PNG", "notes.txt", "deep/er/c.jpg", "deep/e.jpg"}
    assert left_out(photos) == LeftOut(hidden_files=2)
    assert {os.path.relpath(uri, photos) for uri in uris(photos)} == expected
    found = rows(f"{photos}/")
    assert all(isinstance(row, ManifestRow) and row.uri == row.location and os.path.isabs(row.uri) for row in found)


def test_what_names_images_passes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    make(photos, "a.jpg", "b.jpg")
    (photos / "list.csv").write_text("uri\na.jpg\n")
    inputs = (str(photos), f"{photos}/", f"{photos}/*.jpg", f"{photos}/*.csv", f"{photos}/list.csv")
    manifest.check(Manifest(inputs))


def test_globs_are_relative_to_the_working_directory(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert uris("*.jpg") == [str(photos / "a.jpg")]


def test_text_lines_are_uris_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes("\ufeffa.jpg\r\n\n  sub/b c.jpg  \n/abs/d.jpg\ngs://shop/é.jpg\nfile:///abs/e.jpg\na.jpg".encode())
    found = rows(file)
    assert [(row.uri, row.location) for row in found if isinstance(row, ManifestRow)] == [
        ("a.jpg", f"{tmp_path}/a.jpg"),
        ("  sub/b c.jpg  ", f"{tmp_path}/sub/b c.jpg"),
        ("/abs/d.jpg", "/abs/d.jpg"),
        ("gs://shop/é.jpg", "gs://shop/é.jpg"),
        ("file:///abs/e.jpg", "/abs/e.jpg"),
        ("a.jpg", f"{tmp_path}/a.jpg"),
    ]


def test_csv_columns_are_carried_through(tmp_path: Path) -> None:
    file = tmp_path / "list.CSV"
    file.write_text('sku,uri,label\n007,a.jpg,"red, or\nblue"\n008,gs://b/c.jpg,\n', encoding="utf-8")
    assert rows(file) == [
        ManifestRow("a.jpg", f"{tmp_path}/a.jpg", {"sku": "007", "label": "red, or\nblue"}),
        ManifestRow("gs://b/c.jpg", "gs://b/c.jpg", {"sku": "008", "label": ""}),
    ]


def test_the_uri_of_a_row_is_the_cell_letter_for_letter(tmp_path: Path) -> None:
    cells = ["a.jpg ", " a.jpg", "a.jpg\u00a0", "\u3000a.jpg", "a.jpg"]
    (tmp_path / "list.csv").write_text("\n".join(["sku,uri", *(f"1,{cell}" for cell in cells)]), encoding="utf-8")
    (tmp_path / "list.txt").write_text("\n".join(cells), encoding="utf-8")
    for name in ("list.csv", "list.txt"):
        found = [row for row in rows(tmp_path / name) if isinstance(row, ManifestRow)]
        assert [row.uri for row in found] == cells
        assert {row.location for row in found} == {str(tmp_path / "a.jpg")}


def test_rows_without_a_uri_can_be_left_out(tmp_path: Path) -> None:
    """For example, some variants of a product may have no picture of their own."""
    (tmp_path / "list.csv").write_text("sku,uri\n1,a.jpg\n2,\n3, \n4,b.jpg,too,many\n")
    (tmp_path / "list.jsonl").write_text('{"uri": "a.jpg"}\n{"sku": 2}\n{"uri": NaN}\n{"uri": 5}\n')
    parquet = {"sku": [1, 2, 3], "uri": [None, math.nan, None]}
    pq.write_table(pa.table(parquet), tmp_path / "list.parquet")  # pandas writes a column without any URI as floats
    assert left_out(tmp_path / "list.parquet", skip_empty_uri=True) == LeftOut(rows_without_uri=3)
    for name in ("list.csv", "list.jsonl"):
        kinds = [type(row) for row in rows(tmp_path / name, skip_empty_uri=True)]
        assert kinds == [ManifestRow, DeadLetter]
        assert left_out(tmp_path / name, skip_empty_uri=True) == LeftOut(rows_without_uri=2)
        assert len(rows(tmp_path / name)) == 4
        assert left_out(tmp_path / name) == LeftOut()


def test_a_cell_may_hold_several_uris(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("sku,uri\n1,a.jpg; b.jpg;;gs://shop/c.jpg\n2,d.jpg\n3,;\n")
    found = rows(tmp_path / "list.csv", uri_separator=";")
    assert found[:4] == [
        ManifestRow("a.jpg", f"{tmp_path}/a.jpg", {"sku": "1", "uri_position": 1}),
        ManifestRow(" b.jpg", f"{tmp_path}/b.jpg", {"sku": "1", "uri_position": 2}),
        ManifestRow("gs://shop/c.jpg", "gs://shop/c.jpg", {"sku": "1", "uri_position": 3}),
        ManifestRow("d.jpg", f"{tmp_path}/d.jpg", {"sku": "2", "uri_position": 1}),
    ]
    (letter,) = found[4:]
    assert isinstance(letter, DeadLetter)
    assert letter.message.endswith("has no URI")
    (tmp_path / "list.csv").write_text("uri,uri_position\na.jpg,1\n")
    with pytest.raises(UserError, match="has a column 'uri_position', which --uri-separator adds: rename it"):
        rows(tmp_path / "list.csv", uri_separator=";")


def test_blank_rows_of_a_spreadsheet_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("uri,name\na.jpg,x\n,\n , \n,,\nb.jpg,y\n")
    assert [type(row) for row in rows(tmp_path / "list.csv")] == [ManifestRow, ManifestRow]


def test_lines_that_name_no_image_become_dead_letters(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b"uri,sku\na.jpg,1\n,2\nb.jpg,3,4\nc\xe9.jpg,5\nd.jpg,6\n")
    found = rows(file)
    assert [type(row) for row in found] == [ManifestRow, DeadLetter, DeadLetter, DeadLetter, ManifestRow]
    letters = [row for row in found if isinstance(row, DeadLetter)]
    assert {letter.reason for letter in letters} == {"bad_manifest_row"}
    assert [letter.message for letter in letters] == [
        f"line 3 of {file} has no URI",
        f"line 4 of {file}: 3 cells, but the header has 2: b.jpg,3,4",
        f"line 5 of {file} is not UTF-8",
    ]
    assert letters[0].fields == {"sku": "2"}
    for letter in letters:
        letter.uri.encode()  # must be encodable as UTF-8


def test_a_quote_that_is_never_closed_swallows_nothing_silently(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text('uri,name\na.jpg,"red\nb.jpg,blue\nc.jpg,green\n')
    first, *others = rows(file)
    assert isinstance(first, DeadLetter)
    assert first.message == (f'line 2 of {file}: invalid CSV, a quote is not closed or is followed by text: a.jpg,"red')
    assert [row.uri for row in others if isinstance(row, ManifestRow)] == ["b.jpg", "c.jpg"]


def test_stray_quotes_cost_their_own_lines_only(tmp_path: Path) -> None:
    """Each inch mark opens a quote that the next inch mark would close, thousands of lines below."""
    file = tmp_path / "list.csv"
    lines = [f"{number}.jpg,{number}" for number in range(20_000)]
    for number in (10, 5_000, 19_990):
        lines[number] = f'{number}.jpg,"{number} inch'
    file.write_text("\n".join(["uri,name", *lines]) + '\nlast.jpg,"two\nlines"\n')
    found = rows(file)
    assert [row.message.split(" of ")[0] for row in found if isinstance(row, DeadLetter)] == [
        "line 12", "line 5002", "line 19992",
    ]  # fmt: skip
    good = [row for row in found if isinstance(row, ManifestRow)]
    assert len(good) == 20_000 - 3 + 1
    assert good[-1].fields == {"name": "two\nlines"}


def test_one_image_however_its_uri_is_spelled(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"a.jpg\n./a.jpg\nb/../a.jpg\n{tmp_path}//a.jpg\nfile://{tmp_path}/a.jpg\n")
    found = [row for row in rows(file) if isinstance(row, ManifestRow)]
    assert {row.location for row in found} == {str(tmp_path / "a.jpg")}
    assert [row.uri for row in found][:2] == ["a.jpg", "./a.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.csv", b"url,sku\na.jpg,1\n", "has no column 'uri', only url, sku"),
        ("list.csv", b"uri,sku,sku\n", "two columns of the same name"),
        ("list.csv", b"", "is empty"),
        ("list.csv", b'uri,"sku', "is not valid CSV"),
        ("[z-a]*.jpg", None, "bad character range"),
        ("list.csv", b"uri,sku\n", "names no images"),
        ("list.txt", b"\n\n", "names no images"),
        ("list.bin", b"\x7fELF\2\1\1\0\0", "is not text"),
        ("none*.jpg", None, "names no images"),
        ("none", None, "does not exist"),
    ],
)
def test_an_input_without_images_is_refused(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        manifest.check(Manifest((str(tmp_path / name),)))


def test_a_file_name_that_is_not_utf8_becomes_a_dead_letter(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (row,) = rows(tmp_path)
    assert isinstance(row, DeadLetter)
    assert "not UTF-8" in row.message


def test_a_folder_that_cannot_be_listed_is_one_dead_letter(photos: Path, lock: Callable[[Path], None]) -> None:
    lock(photos / "deep/er")
    (letter,) = (row for row in rows(photos) if isinstance(row, DeadLetter))
    assert (letter.uri, letter.reason, letter.transient) == (str(photos / "deep/er"), "permission_denied", False)
    assert letter.message.startswith("the folder cannot be listed: [Errno 13] Permission denied")
    assert {os.path.relpath(uri, photos) for uri in uris(photos)} == {"a.jpg", "b.PNG", "notes.txt", "deep/e.jpg"}
    manifest.check(Manifest((str(photos),)))


@pytest.mark.parametrize("error", [StorageError(Reason.READ_FAILED, "disk on fire"), pa.ArrowInvalid("disk on fire")])
def test_an_input_that_fails_while_it_is_read_is_an_error_of_the_user(
    photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: object) -> Iterator[object]:
        yield from ()
        raise error

    given = Manifest((str(photos),))
    for name, read in (("rows", manifest.rows_of), ("parts_of", manifest._parts_of)):
        with monkeypatch.context() as patch:
            patch.setattr(inputs, name, failing)
            with pytest.raises(UserError, match=r"^--input .*2019\] cannot be read: .*disk on fire$"):
                list(read(str(photos), given))


def test_a_folder_of_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text("uri\na.jpg\n")
    with pytest.raises(UserError, match=r"contains lists, not images: give a glob of lists, such as .*/\*\.csv"):
        manifest.check(Manifest((str(tmp_path),)))


def test_a_glob_of_lists_that_does_not_say_so_is_refused(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"export-{number}.json").write_text('{"uri": "a.jpg"}\n')
    with pytest.raises(
        UserError, match=r"contains lists, not images: give a glob of lists, such as .*/export-\*\.json"
    ):
        manifest.check(Manifest((f"{tmp_path}/export-*",)))
    assert uris(f"{tmp_path}/export-*.json") == ["a.jpg", "a.jpg"]


def test_what_a_dead_letter_quotes_can_be_written_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"uri": "/a\\ud800.jpg", "x": {"y\\udc80": ["\\ud800"]}}\n')
    (letter,) = rows(tmp_path / "list.jsonl")
    assert isinstance(letter, DeadLetter)
    assert (letter.uri, letter.fields) == ("/a?.jpg", {"x": {"y?": ["?"]}})
    json.dumps(letter.to_row(), ensure_ascii=False).encode()


def test_a_list_of_uris_needs_the_flag_that_divides_cells(tmp_path: Path) -> None:
    file = tmp_path / "list.jsonl"
    file.write_text('{"uri": ["a.jpg", "b.jpg"], "sku": 1}\n')
    (letter,) = rows(file)
    assert isinstance(letter, DeadLetter)
    assert letter.message.endswith("is not text (use --uri-separator to read URI lists)")
    found = rows(file, uri_separator="|")
    assert [(row.uri, row.fields) for row in found] == [
        ("a.jpg", {"sku": 1, "uri_position": 1}),
        ("b.jpg", {"sku": 1, "uri_position": 2}),
    ]


def test_null_within_a_list_of_uris_is_ignored_like_empty_text(tmp_path: Path) -> None:
    lines = ['["a.jpg", null, "b.jpg"]', '[NaN, " "]', "[]", "null", '["c.jpg", 5]']
    (tmp_path / "list.jsonl").write_text("".join(f'{{"uri": {uris}, "sku": 1}}\n' for uris in lines))
    pq.write_table(pa.table({"uri": [["a.jpg", None, "b.jpg"], [None], [], None]}), tmp_path / "list.parquet")
    for name, wrong in (("list.jsonl", 1), ("list.parquet", 0)):
        found = rows(tmp_path / name, uri_separator="|", skip_empty_uri=True)
        assert [(row.uri, row.fields["uri_position"]) for row in found if isinstance(row, ManifestRow)] == [
            ("a.jpg", 1),
            ("b.jpg", 2),
        ]
        assert sum(isinstance(row, DeadLetter) for row in found) == wrong
        assert left_out(tmp_path / name, uri_separator="|", skip_empty_uri=True) == LeftOut(rows_without_uri=3)


@pytest.mark.parametrize("begins", [False, True])
def test_nothing_is_read_for_a_run_that_has_finished(photos: Path, tmp_path: Path, begins: bool) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = pipeline | ReadManifest(Manifest((str(photos),)), MeterHandle(str(tmp_path)), lambda: begins)
        count = found.rows.results | beam.combiners.Count.Globally()
        assert_that(count, equal_to([5 if begins else 0]))
