"""Values of columns as JSON, as text, and as cells of a CSV file that no spreadsheet runs as formulas."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re
import uuid
from typing import Any

# With apostrophes before it, so that whoever takes one away gets the text again.
_FORMULA = re.compile(r"'*[\"\ufeff]*[=+\-@＝＋－＠]")  # behind a quote that a program may take for that of a cell
_BLANK_START = re.compile(r"'*[\t\r\n]")  # which a spreadsheet may leave out
# Where a spreadsheet with other settings begins a new cell: the quotes around the cell do not count for it then.
_SEPARATOR = re.compile(r"([;|\t\r\n])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def as_json(value: Any) -> str:
    """A value as JSON on one line; what JSON has no form for as text, and as null what is no number."""
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_without_nan(value))


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta, uuid.UUID)):
        return str(value)
    raise TypeError(f"a manifest's column holds a {type(value).__name__}, which has no form in JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def as_text(value: Any) -> str:
    """A value as text: itself, as JSON, or in the form that JSON's text has for it."""
    if isinstance(value, str):
        return value
    return as_json(value) if isinstance(value, (bool, int, float, list, tuple, dict)) else _plain(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def as_cell(value: Any) -> Any:
    """A value as a cell of a CSV that no spreadsheet runs as a formula, whatever it takes for the separator.

    Text that begins as one gets an apostrophe before it, and so does what follows a semicolon, a bar, a tab or a new
    line and begins as one. Whoever takes one apostrophe away at each of these places gets the text again.
    """
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    text = as_text(value)
    pieces = _SEPARATOR.split(text)  # every other one is a separator
    inert = "".join(piece if number % 2 else _inert(piece) for number, piece in enumerate(pieces))
    return f"'{inert}" if _BLANK_START.match(text) else inert


def _inert(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
