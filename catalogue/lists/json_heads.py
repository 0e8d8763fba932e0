"""Checks that the head of a file is JSON Lines, and that the objects have the required columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from catalogue.cli.errors import UserError
from catalogue.lists.heads import Head
from catalogue.lists.json_rows import parsed
from catalogue.lists.values import ListColumns

_DECODER = json.JSONDecoder()
_UNKNOWN = object()
_LIST_OF_OBJECTS = re.compile(r'"([^"\\]*)"\s*:\s*\[\s*(?=\{)')
_ADVICE = "write JSON Lines, with one object per line"


class _Start(NamedTuple):
    """The JSON value that begins on the first line.

    Attributes:
        text: nonblank lines of the head, joined.
        lines: the same lines as a list.
        value: the value; `_UNKNOWN` if it is broken or longer than the head.
        end: position after the value; position of the error if the value is `_UNKNOWN`.
    """

    text: str
    lines: list[str]
    value: Any
    end: int

    @property
    def is_list(self) -> bool:
        """Whether the first line is an array of objects or of strings."""
        value, rest = self.value, self.lines[0][self.end :]
        return isinstance(value, list) and bool(value) and isinstance(value[0], (dict, str)) and not rest.strip()

    @property
    def has_several_lines(self) -> bool:
        """Whether the value spans several lines.

        An unknown value must reach the third line: if a line of JSON Lines is cut off after a colon or a bracket, the
        next line appears to continue it.
        """
        return self.end > len("".join(self.lines[:2]) if self.value is _UNKNOWN else self.lines[0])


def check_objects(head: Head, columns: ListColumns) -> None:
    """Reject JSON that is not JSON Lines, and JSON Lines whose first objects all lack a required column.

    Raises:
        UserError: the file is one JSON value, has JSON values that span several lines, or has wrong columns.
    """
    start = _start(head)
    if head.first.startswith("["):
        raise _one_value(head, start)
    _check_spans_one_line(head, start)
    keys = list(dict.fromkeys(key for value in _objects(head) for key in value))
    if len(start.lines) == 1 and columns.uri not in keys and _has_rows(start, columns.uri):
        raise _one_value(head, start)
    if keys:
        columns.check(head.path, keys)


def check_is_not_json(head: Head) -> None:
    """Reject text that is one JSON value or has JSON values that span several lines. Raises UserError."""
    if head.first.startswith(("[", "{")):
        start = _start(head)
        _check_spans_one_line(head, start)
        if start.is_list:
            raise _one_value(head, start)


def is_object(line: str) -> bool:
    """Return whether a line is a row of JSON Lines."""
    return not parsed(line)[1]


def _start(head: Head) -> _Start:
    lines = [line.lstrip() for line in head.lines if line.strip()]
    text = "".join(lines)
    return _Start(text, lines, *_value_at(text, 0))


def _value_at(text: str, position: int) -> tuple[Any, int]:
    """Return the JSON value at a position, and its end; if it is broken, `_UNKNOWN` and the position of the error."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        return _UNKNOWN, error.pos
    except (ValueError, RecursionError):  # a number with thousands of digits, or thousands of nested brackets
        return _UNKNOWN, position


def _check_spans_one_line(head: Head, start: _Start) -> None:
    if start.has_several_lines:
        if start.value is not _UNKNOWN and start.text[start.end :].strip():
            raise UserError(f"{head.path} has JSON values that span several lines: {_ADVICE} (jq -c .)")
        raise _one_value(head, start)


def _objects(head: Head) -> Iterator[dict[str, Any]]:
    for line in head.complete:
        value, problem = parsed(line)
        if not problem:
            yield value


def _has_rows(start: _Start, uri_column: str) -> bool:
    """Return whether a value contains a list of objects; for an unknown value, a list of objects with URIs."""
    found = _LIST_OF_OBJECTS.search(start.text)
    if found is None or start.value is not _UNKNOWN:
        return found is not None
    first, _ = _value_at(start.text, found.end())
    return isinstance(first, dict) and uri_column in first


def _one_value(head: Head, start: _Start) -> UserError:
    """Return the error for a file that is one JSON value, with a command that writes its rows as lines."""
    rows = ".[]"
    if not head.first.startswith("["):
        found = _LIST_OF_OBJECTS.search(start.text)
        is_known = found and found[1].isidentifier() and start.text.count("{", 0, found.start()) == 1
        rows = f".{found[1] if found and is_known else 'NAME'}[]"
    return UserError(f"{head.path} is one JSON value: {_ADVICE} (jq -c '{rows}')")
