"""Parses the rows of JSON Lines without loss: rejects duplicate keys, and keeps numbers that a double would change."""

from __future__ import annotations

import collections
import decimal
import json
import math
import sys
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 100  # levels of nesting in a row; pickle and PyArrow fail at several hundred levels

_DIGITS = 17  # significant digits with which programs write doubles


class _DuplicateKeyError(ValueError):
    """An object has a duplicate key."""


def parsed(line: str) -> tuple[dict[str, Any], str]:
    """Parse a line. Returns the object and an empty string, or an empty object and the problem of the line."""
    problem = ""
    try:
        value = _decoded(line)
    except json.JSONDecodeError as error:
        problem = f"invalid JSON, {error.msg} at column {error.colno}"
    except _DuplicateKeyError as error:
        problem = str(error)
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or thousands of nested brackets
        problem = f"unreadable JSON, {error}"
    else:
        if not isinstance(value, dict):
            problem = "not a JSON object"
        # The cheap checks come first: every level of nesting takes two brackets.
        elif len(line) > 2 * MAX_DEPTH and line.count("[") + line.count("{") > MAX_DEPTH and _is_deep(value):
            problem = f"nested more than {MAX_DEPTH} levels deep"
        else:
            return value, ""
    return {}, f"{problem}: {line.strip()[:200]}"


def _decoded(line: str) -> Any:
    if line.startswith("{"):
        value, end = _DECODER.raw_decode(line)  # faster: does not search for whitespace around the value
        if not line[end:].strip(" \t\r\n"):
            return value
    return _DECODER.decode(line)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object from its keys and values. Raises _DuplicateKeyError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = collections.Counter(name for name, _ in pairs).most_common(1)
        raise _DuplicateKeyError(f"duplicate key {name!r}")
    return found


def _number(text: str) -> float | decimal.Decimal:
    """Return a number with a fraction or exponent: a double, or a Decimal if a double would change it.

    A number of at most 17 digits always becomes a double: it may have been written from a double, even by a program
    that rounds inexactly.
    """
    value = float(text)
    if len(text) <= _DIGITS + 1 and "e" not in text and "E" not in text:
        return value
    try:
        exact = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError(f"the number {text[:50]} is too large or too small") from None
    if not math.isfinite(value):
        return exact
    digits = len(exact.as_tuple().digits)
    if digits <= _DIGITS and abs(value) >= sys.float_info.min:
        return value
    return value if decimal.Context(prec=digits).create_decimal(value) == exact else exact


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_number)


def _is_deep(value: Any) -> bool:
    """Return whether a JSON value has more than `MAX_DEPTH` levels, which some later readers cannot handle."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level if isinstance(one, (dict, list)) for inner in _members(one)]
    return any(isinstance(one, (dict, list)) for one in level)


def _members(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
