"""How many rows a file of a run directory has, and with which columns."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue import storage

_CUT = "its last line is not complete"


def columns_and_rows(path: str) -> tuple[str, int]:
    """Reads a whole file of rows, or what a Parquet file says of itself.

    Args:
        path: of the file, in the format that its ending says.

    Returns:
        Its columns, as text that is equal for files that fit together, and the number of its rows.

    Raises:
        StorageError: it cannot be read.
        ValueError: it is damaged, as one is that was copied in part.
    """
    with storage.open_file(path) as file:
        if path.endswith(".parquet"):
            try:
                parquet = pq.ParquetFile(file)
            except pa.ArrowException as error:
                raise ValueError(str(error)) from error
            return parquet.schema_arrow.remove_metadata().to_string(), parquet.metadata.num_rows
        if path.endswith(".csv"):
            return _of_csv(file)
        lines, end = 0, b"\n"
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            end = block[-1:]
        if end != b"\n":
            raise ValueError(_CUT)
        return "", lines


def _of_csv(file: BinaryIO) -> tuple[str, int]:
    file.seek(-min(file.seek(0, io.SEEK_END), 2), io.SEEK_END)
    if file.read() != b"\r\n":
        raise ValueError(_CUT)
    file.seek(0)
    csv.field_size_limit(2**31 - 1)
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        reader, rows = csv.reader(text, strict=True), 0
        try:
            header = next(reader)
            for rows, row in enumerate(reader, start=1):
                if len(row) != len(header):
                    raise ValueError(f"row {rows:,} has {len(row)} cells, not {len(header)}")
        except csv.Error as error:
            raise ValueError(str(error)) from error
    return ",".join(header), rows
