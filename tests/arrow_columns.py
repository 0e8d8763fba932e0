"""Arrow columns for tests: every type that Parquet can store, alone and nested in other types."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

ID = uuid.UUID(int=7)
WHEN = datetime.datetime(2023, 11, 14, 22, 13, 20, 123456)
NANOSECONDS = 1_700_000_000_123_456_789

LEAVES: dict[str, tuple[pa.Array, Any]] = {
    "text": (pa.array(["x"]), "x"),
    "large text": (pa.array(["x"], pa.large_string()), "x"),
    "text view": (pa.array(["x"], pa.string_view()), "x"),
    "bytes": (pa.array([b"\xff"]), b"\xff"),
    "large bytes": (pa.array([b"\xff"], pa.large_binary()), b"\xff"),
    "bytes view": (pa.array([b"\xff"], pa.binary_view()), b"\xff"),
    "two bytes": (pa.array([b"ab"], pa.binary(2)), b"ab"),
    "dictionary": (pa.array(["x"]).dictionary_encode(), "x"),
    "dictionary of times": (pa.array([NANOSECONDS], pa.timestamp("ns")).dictionary_encode(), WHEN),
    "nanoseconds": (pa.array([NANOSECONDS], pa.timestamp("ns")), WHEN),
    "nanoseconds in UTC": (
        pa.array([NANOSECONDS], pa.timestamp("ns", "UTC")),
        WHEN.replace(tzinfo=datetime.timezone.utc),
    ),
    "seconds": (pa.array([WHEN.replace(microsecond=0)], pa.timestamp("s")), WHEN.replace(microsecond=0)),
    "time": (pa.array([3_600_000_001_999], pa.time64("ns")), datetime.time(1, 0, 0, 1)),
    "short time": (pa.array([3600], pa.time32("s")), datetime.time(1)),
    "duration": (pa.array([1999], pa.duration("ns")), datetime.timedelta(microseconds=1)),
    "date": (pa.array([WHEN.date()]), WHEN.date()),
    "long date": (pa.array([WHEN.date()], pa.date64()), WHEN.date()),
    "UUID": (pa.array([ID.bytes], pa.uuid()), ID),
    "JSON": (pa.array(['{"a":1}'], pa.json_()), '{"a":1}'),
    "boolean byte": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), True),
    "tensor": (pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[[1.0, 2.0], [3.0, 4.0]]])), [1.0, 2.0, 3.0, 4.0]),
    "opaque": (pa.ExtensionArray.from_storage(pa.opaque(pa.binary(), "x", "y"), pa.array([b"x"])), b"x"),
    "null": (pa.nulls(1), None),
    "boolean": (pa.array([True]), True),
    "integer": (pa.array([2**63 - 1]), 2**63 - 1),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "half": (pa.array([1.5], pa.float16()), 1.5),
    "double": (pa.array([0.1]), 0.1),
    "decimal": (pa.array([decimal.Decimal("1.50")]), decimal.Decimal("1.50")),
    "large decimal": (pa.array([decimal.Decimal("1.50")], pa.decimal256(50, 2)), decimal.Decimal("1.50")),
}


def _offsets(kind: pa.DataType) -> pa.Array:
    return pa.array([0, 1], kind)


CONTAINERS: dict[str, tuple[Callable[[pa.Array], pa.Array], Callable[[Any], Any]]] = {
    "alone": (lambda leaf: leaf, lambda value: value),
    "struct": (lambda leaf: pa.StructArray.from_arrays([leaf], ["a"]), lambda value: {"a": value}),
    "list": (lambda leaf: pa.ListArray.from_arrays(_offsets(pa.int32()), leaf), lambda value: [value]),
    "large list": (lambda leaf: pa.LargeListArray.from_arrays(_offsets(pa.int64()), leaf), lambda value: [value]),
    "fixed-size list": (lambda leaf: pa.FixedSizeListArray.from_arrays(leaf, 1), lambda value: [value]),
    "map": (
        lambda leaf: pa.MapArray.from_arrays(_offsets(pa.int32()), pa.array(["k"]), leaf),
        lambda value: [("k", value)],
    ),
    "list of structs": (
        lambda leaf: pa.ListArray.from_arrays(_offsets(pa.int32()), pa.StructArray.from_arrays([leaf], ["a"])),
        lambda value: [{"a": value}],
    ),
    "struct of lists": (
        lambda leaf: pa.StructArray.from_arrays([pa.FixedSizeListArray.from_arrays(leaf, 1)], ["a"]),
        lambda value: {"a": [value]},
    ),
}


def column(leaf: str, container: str) -> tuple[pa.ChunkedArray, list[Any]]:
    """Return a two-row column of type `leaf` within `container`, and the Python values of its rows.

    The second row is null. In fixed-size lists, it repeats the first row, as PyArrow cannot read back a null list.
    """
    array, value = LEAVES[leaf]
    wrap, wrapped = CONTAINERS[container]
    found = wrap(array)
    if leaf == "tensor" or container in ("fixed-size list", "struct of lists"):
        return pa.chunked_array([found, found]), [wrapped(value)] * 2
    return pa.chunked_array([found, pa.nulls(1, found.type)]), [wrapped(value), None]
