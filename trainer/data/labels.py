"""Labels as lists and folders give them, to the text that names a class."""

from __future__ import annotations

import datetime
import decimal
import math
import unicodedata
from typing import Any


def normalized(text: str) -> str:
    """Text in Unicode's form NFC: macOS writes the names of files in another one, which looks the same."""
    return unicodedata.normalize("NFC", text)


def as_text(value: Any) -> str | None:
    """A cell of a list as a label.

    A whole number that another tool stored as a fraction is a whole number, and a time at midnight is a date.

    Returns:
        The label; empty if there is none; None if the value is not a label, such as a list.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, datetime.date):
        return None if isinstance(value, datetime.datetime) else value.isoformat()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return normalized(str(value).strip()) if isinstance(value, (str, int, float, decimal.Decimal)) else None
