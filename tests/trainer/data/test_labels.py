from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

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
