from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.records import OUTPUT_FORMATS, DeadLetter, Prediction
from pipeline.run_dir.formats import writer
from pipeline.run_dir.layout import DEAD_LETTERS, PREDICTIONS
from pipeline.run_dir.read_rows import read_rows

SCORE = float(np.float32(1 / 3))
NAMES = ["a.jpg", "=1.jpg", "'=1.jpg", "''+x", "-5", "'-5", "+1", "'", 'a,"b"\r\n', "ü.jpg", "@", "\t"]
ROWS = {
    PREDICTIONS: [
        Prediction(name, "'=hat", SCORE, (("'=hat", SCORE), ("b", 0.25)), "model", "hash", {"sku": name}, "/x").to_row()
        for name in NAMES
    ],
    DEAD_LETTERS: [
        DeadLetter(name, "read_failed", n % 2 == 0, "=cmd|' /C'", {"sku": name}).to_row()
        for n, name in enumerate(NAMES)
    ],
}


@pytest.mark.parametrize("folder", ROWS)
@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_rows_come_back_as_they_were_written(form: str, folder: str, tmp_path: Path) -> None:
    path = str(tmp_path / f"part.{form}")
    out = writer(path, folder, pa.schema([("sku", pa.string())]), 3)
    for row in ROWS[folder]:
        out.write(row)
    out.close()
    assert list(read_rows(path)) == ROWS[folder]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_a_part_without_rows_gives_none(form: str, tmp_path: Path) -> None:
    path = str(tmp_path / f"part.{form}")
    writer(path, PREDICTIONS, pa.schema([]), 3).close()
    assert list(read_rows(path)) == []


def test_rows_without_other_columns_have_no_fields(tmp_path: Path) -> None:
    row: dict[str, Any] = DeadLetter("a", "empty", False, "0 bytes", {}).to_row()
    for form in OUTPUT_FORMATS:
        path = str(tmp_path / f"part.{form}")
        out = writer(path, DEAD_LETTERS, pa.schema([]), 3)
        out.write(row)
        out.close()
        assert list(read_rows(path)) == [row]


def test_cells_are_inert_all_the_same(tmp_path: Path) -> None:
    out = writer(str(tmp_path / "part.csv"), PREDICTIONS, pa.schema([("sku", pa.string())]), 3)
    for row in ROWS[PREDICTIONS]:
        out.write(row)
    out.close()
    with (tmp_path / "part.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert [cell for cell in cells if cell[:1] in set("=+@\t\r") and cell != "+1"] == []
