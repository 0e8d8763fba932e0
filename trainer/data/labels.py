"""Normalization of labels from lists, folders and flags to class names."""

from __future__ import annotations

import argparse
import datetime
import decimal
import os
import unicodedata
from pathlib import Path
from typing import Any

from catalogue.lists.cells import is_missing


def normalized(text: str) -> str:
    """Normalize text to Unicode NFC, since file names from macOS may be in another form that looks the same."""
    return unicodedata.normalize("NFC", text)


def class_names(text: str) -> tuple[str, ...]:
    """Parse the value of ``--class-names`` or ``--labels``: names in order, comma-separated or one per line of a file.

    Raises:
        ArgumentTypeError: a name is empty or repeated, or the file cannot be read.
    """
    try:
        is_file = os.path.isfile(text)  # Path.is_file raises OSError for a long list of names
        words = Path(text).read_text(encoding="utf-8-sig").splitlines() if is_file else text.split(",")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error}") from error
    names = [normalized(word.strip()) for word in words]
    if is_file and names and not names[-1]:
        names.pop()  # blank line at the end of the file
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if not names or not all(names) or twice:
        what = f"{twice[0]!r} twice" if twice and twice[0] else "an empty name"
        raise argparse.ArgumentTypeError(f"{text!r} has {what}: give each class its own name")
    return tuple(names)


def as_text(value: Any) -> str | None:
    """Convert a cell of a list to a label.

    Other tools store whole numbers as floats and dates as times at midnight: both are converted back.

    Returns:
        The label; empty for an empty cell; None if the value cannot be a label, such as a list.
    """
    if is_missing(value):
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
