"""Column values as JSON, as text, and as CSV cells that no spreadsheet executes as formulas."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re
import uuid
from typing import Any

# Leading apostrophes are matched too, so that removing one always restores the text.
_FORMULA = re.compile(
    r"'*[\"\ufeff]*[=+\-@＝＋－＠]"
)  # also after a quote that may be read as the opening quote of the cell
_BLANK_START = re.compile(r"'*[\t\r\n]")  # leading characters that a spreadsheet may strip
# A spreadsheet that assumes another separator ignores the quotes around the cell, and begins a new cell here.
_SEPARATOR = re.compile(r"([;|\t\r\n])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def is_missing(value: Any) -> bool:
    """Return whether a value stands for an empty cell: None, blank text, or NaN, which some tools write instead."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_json(value: Any) -> str:
    """Return a value as JSON on one line: types that JSON lacks as text, NaN and infinity as null."""
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
    raise TypeError(f"a manifest column holds a {type(value).__name__}, which JSON cannot represent")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def as_text(value: Any) -> str:
    """Return a value as text: a string unchanged, other JSON types as JSON, any other type as its text in `as_json`."""
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
    """Return a value as a CSV cell that no spreadsheet executes as a formula, whatever separator it assumes.

    An apostrophe is inserted where the text begins like a formula, and where it does so after a semicolon, a bar, a tab
    or a line break. Removing one apostrophe at each of these places restores the text.
    """
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    text = as_text(value)
    pieces = _SEPARATOR.split(text)  # odd indices are separators
    inert = "".join(piece if number % 2 else _inert(piece) for number, piece in enumerate(pieces))
    return f"'{inert}" if _BLANK_START.match(text) else inert


def _inert(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
