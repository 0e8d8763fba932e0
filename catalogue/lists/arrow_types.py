"""Arrow types for the columns of lists: types that Python can represent, and types built from Python values."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

_MICROSECONDS = {pa.time64("ns"): pa.time64("us"), pa.duration("ns"): pa.duration("us")}
_HELD = (pa.UuidType, pa.JsonType, pa.OpaqueType)  # extension types whose values are standard Python objects


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is cast to before it is converted to Python.

    At every level of nesting:

    * Nanoseconds become microseconds, the precision of Python's datetime types.
    * Fixed-size lists become variable-size lists, since their null rows cannot be read back from Parquet.
    * Dictionary types, and string and binary views, become the types of their values. So do extension types, unless
      their values are standard Python objects.
    """
    return _with_leaves(kind, _plain_leaf)


def text(kind: pa.DataType) -> pa.DataType:
    """Return a type with binary types replaced by strings: some writers, such as Impala, do not mark text as such."""
    return _with_leaves(kind, lambda leaf: pa.string() if _is_binary(leaf) else leaf)


def writable(kind: pa.DataType) -> pa.DataType:
    """Return a type that can be built from Python values and that every Parquet reader supports.

    The null type of a column without any values becomes a string. Extension types within other types, which PyArrow
    cannot build, become their storage types.
    """
    return kind if isinstance(kind, pa.BaseExtensionType) else _with_leaves(kind, _writable_leaf)


def _with_leaves(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Return a type with `change` applied to the non-nested types within it.

    List views are not changed: PyArrow 25 cannot cast them.
    """

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(_with_leaves(field.type, change))

    if pa.types.is_struct(kind):
        return pa.struct([inner(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(inner(kind.value_field))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(inner(kind.value_field))
    if pa.types.is_dictionary(kind):
        return _with_leaves(kind.value_type, change)
    return change(kind)


def _plain_leaf(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.Bool8Type):
        return pa.bool_()
    if isinstance(kind, pa.BaseExtensionType):
        return kind if isinstance(kind, _HELD) else plain(kind.storage_type)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if kind in (pa.string_view(), pa.binary_view()):
        return pa.string() if kind == pa.string_view() else pa.binary()
    return _MICROSECONDS.get(kind, kind)


def _writable_leaf(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return pa.string() if pa.types.is_null(kind) else kind


def _is_binary(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view()) or pa.types.is_fixed_size_binary(kind)
