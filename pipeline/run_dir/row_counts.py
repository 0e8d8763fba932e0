"""How many rows a file of a run directory has, and with which columns."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue import storage


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
            csv.field_size_limit(2**31 - 1)
            reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), strict=True)
            try:
                return ",".join(next(reader, ())), sum(1 for _ in reader)
            except csv.Error as error:
                raise ValueError(str(error)) from error
        lines, end = 0, b"\n"
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            end = block[-1:]
        if end != b"\n":
            raise ValueError("its last line is not complete")
        return "", lines
