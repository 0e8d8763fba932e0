"""Labels as lists, folders and users give them, to the text that names a class."""

from __future__ import annotations

import argparse
import datetime
import decimal
import math
import os
import unicodedata
from pathlib import Path
from typing import Any


def normalized(text: str) -> str:
    """Text in Unicode's form NFC: macOS writes the names of files in another one, which looks the same."""
    return unicodedata.normalize("NFC", text)


def class_names(text: str) -> tuple[str, ...]:
    """For argparse: the names of classes, in order, with commas between them or in a file with a line for each.

    Raises:
        ArgumentTypeError: a name is empty or stands there twice, or the file cannot be read.
    """
    try:
        is_file = os.path.isfile(text)  # not that of Path, which raises what a long list of names gives
        words = Path(text).read_text(encoding="utf-8-sig").splitlines() if is_file else text.split(",")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error}") from error
    names = [normalized(word.strip()) for word in words]
    if is_file and names and not names[-1]:
        names.pop()  # a line that ends the file
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if not names or not all(names) or twice:
        what = f"{twice[0]!r} twice" if twice and twice[0] else "an empty name"
        raise argparse.ArgumentTypeError(f"{text!r} has {what}: give each class a name of its own")
    return tuple(names)


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
