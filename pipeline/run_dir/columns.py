"""Columns of manifest rows, each with a type that holds all of its values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

MOST_COLUMNS = 1000
TOO_MANY = pa.schema([], metadata={"columns": "too many"})
"""Stands for more than `MOST_COLUMNS` columns: each row then has all of its fields in a single JSON column."""

_LOOKED_ROWS = 10_000

# Marks inferred integer columns whose values a double holds exactly. Declared int64 columns are never marked.
_SMALL = {b"small": b"yes"}
_WIDENED = (pa.types.is_signed_integer, pa.types.is_unsigned_integer, pa.types.is_decimal)


class ColumnTypes:
    """Inference of the columns of manifest rows and of their types. The type of a column holds all of its values.

    Time and memory are linear in the number of values, even if each row has different columns.

    Args:
        declared: known columns; None to infer them from the rows.
    """

    def __init__(self, declared: pa.Schema | None = None) -> None:
        self._found, self._looks = unified([declared or pa.schema([])]), declared is None
        self._waiting: list[dict[str, Any]] = []

    def add(self, fields: dict[str, Any]) -> None:
        """Examine a row, unless the columns were declared."""
        if self._looks:
            self._waiting.append(fields)
            if len(self._waiting) >= _LOOKED_ROWS:
                self._look()

    def schema(self) -> pa.Schema:
        """Return the columns of all rows so far; `TOO_MANY` if there are more than `MOST_COLUMNS`."""
        self._look()
        return self._found

    def _look(self) -> None:
        columns: dict[str, list[Any]] = {}
        for fields in self._waiting:
            for name, value in fields.items():
                columns.setdefault(name, []).append(value)
        self._waiting = []
        if len(columns) > MOST_COLUMNS:
            self._found = TOO_MANY
        else:
            self._found = unified([self._found, pa.schema([_field_of(*column) for column in columns.items()])])
        self._looks = self._looks and not are_too_many(self._found)


def _field_of(name: str, values: list[Any]) -> pa.Field:
    """Return a column for JSON values.

    The type is string if no other type holds all values, the values have too many members, or Parquet cannot store the
    type.
    """
    members: set[tuple[str, ...]] = set()
    for value in values:
        if isinstance(value, (dict, list)):
            _add_members(value, (), members)
        if len(members) > MOST_COLUMNS:  # each member would take space in each row
            return pa.field(name, pa.string())
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.field(name, pa.string())
    if not _has_members(array.type):
        return pa.field(name, pa.string())
    small = array.type == pa.int64() and all(value is None or abs(value) <= 2**53 for value in values)
    return pa.field(name, array.type, metadata=_SMALL if small else None)


def _add_members(value: Any, path: tuple[str, ...], members: set[tuple[str, ...]]) -> None:
    """Add the paths of all members of a nested value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            members.add((*path, name))
            _add_members(inner, (*path, name), members)
    elif isinstance(value, list):
        for inner in value:
            _add_members(inner, path, members)


def _has_members(kind: pa.DataType) -> bool:
    """Return whether Parquet can store a type, which must not contain structs without members."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_has_members(field.type) for field in kind)
    return not pa.types.is_list(kind) or _has_members(kind.value_type)


def are_too_many(columns: pa.Schema) -> bool:
    """Return whether columns are `TOO_MANY` or a copy of it from another process."""
    return columns.metadata == TOO_MANY.metadata


def unified(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Merge the columns of several tables. Returns `TOO_MANY` if there are more than `MOST_COLUMNS`.

    The order is kept if one table has all columns of the other in the same order; otherwise the columns are sorted by
    name. A column whose types have no common supertype becomes a string.
    """
    merged: dict[str, pa.Field] = {}
    for schema in schemas:
        if are_too_many(schema) or len(schema) > MOST_COLUMNS:
            return TOO_MANY
        found = {field.name: field for field in schema}
        order = _order(list(merged), list(found))
        if len(order) > MOST_COLUMNS:
            return TOO_MANY
        merged = {name: _common(merged.get(name), found.get(name)) for name in order}
    return pa.schema(list(merged.values()))


def _order(ours: list[str], theirs: list[str]) -> list[str]:
    longer, shorter = (ours, theirs) if len(ours) >= len(theirs) else (theirs, ours)
    rest = iter(longer)
    return longer if all(name in rest for name in shorter) else sorted({*ours, *theirs})


def _common(a: pa.Field | None, b: pa.Field | None) -> pa.Field:
    if a is None or b is None or a.equals(b, check_metadata=True):
        return a or b
    if pa.types.is_null(a.type) or pa.types.is_null(b.type):
        return b if pa.types.is_null(a.type) else a
    small = a.metadata == _SMALL, b.metadata == _SMALL
    kinds = [pa.int32() if is_small else field.type for field, is_small in zip((a, b), small, strict=True)]
    kind = pa.int64() if all(small) else _wider(*kinds)
    return pa.field(a.name, pa.string() if kind is None or _members_of(kind) > MOST_COLUMNS else kind)


def _members_of(kind: pa.DataType) -> int:
    """Return the number of members of a nested type."""
    if pa.types.is_struct(kind):
        return kind.num_fields + sum(_members_of(field.type) for field in kind)
    return _members_of(kind.value_type) if pa.types.is_list(kind) else 0


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """Return a type that holds every value of two types exactly; None if only a string can."""
    if a == b or pa.types.is_null(a) or pa.types.is_null(b):
        return b if pa.types.is_null(a) else a
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        names = dict.fromkeys(field.name for kind in (a, b) for field in kind)
        inner = {name: _wider(_member(a, name), _member(b, name)) for name in names}
        return None if None in inner.values() else pa.struct(list(inner.items()))
    if pa.types.is_list(a) and pa.types.is_list(b):
        value = _wider(a.value_type, b.value_type)
        return None if value is None else pa.list_(value)
    if any(is_kind(a) and is_kind(b) for is_kind in _WIDENED) or (_is_exact_double(a) and _is_exact_double(b)):
        both = [pa.schema([("column", kind)]) for kind in (a, b)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    return None


def _member(kind: pa.StructType, name: str) -> pa.DataType:
    return kind.field(name).type if kind.get_field_index(name) >= 0 else pa.null()


def _is_exact_double(kind: pa.DataType) -> bool:
    """Return whether a double holds every value of a type exactly."""
    return pa.types.is_floating(kind) or kind in (
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
    )
