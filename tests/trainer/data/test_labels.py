from __future__ import annotations

import argparse
import datetime
import decimal
from pathlib import Path
from typing import Any

import pytest

from trainer.data import labels
from trainer.data.labels import as_text


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("hat", "hat"),
        (" hat\u00a0", "hat"),
        ("Hu\u0308te", "H\u00fcte"),
        (3, "3"),
        (4.0, "4"),
        (4.5, "4.5"),
        (True, "true"),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.date(2024, 1, 1), "2024-01-01"),
        (datetime.datetime(2024, 1, 1), "2024-01-01"),
        ("", ""),
        (None, ""),
        (float("nan"), ""),
        (["hat", "sale"], None),
        ({"name": "hat"}, None),
        (b"hat", None),
        (datetime.datetime(2024, 1, 1, 12), None),
    ],
)
def test_what_a_cell_says_as_a_label(value: Any, label: str | None) -> None:
    assert as_text(value) == label


def test_names_of_classes_in_a_list_of_any_length_or_in_a_file(tmp_path: Path) -> None:
    names = tuple(f"a class with a name {number}" for number in range(100))
    assert labels.class_names(", ".join(names)) == names
    (tmp_path / "names.txt").write_text("\ufeff" + "\r\n".join(names) + "\r\n", encoding="utf-8")
    assert labels.class_names(str(tmp_path / "names.txt")) == names
    for wrong in ("", "a,,b", "a,b,a", "a\0,a\0"):
        with pytest.raises(argparse.ArgumentTypeError, match="give each class its own name"):
            labels.class_names(wrong)
