"""Row counts and columns of the files of a run directory."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue import storage
from catalogue.cli.text import counted

_CUT = "its last line is incomplete"


def columns_and_rows(path: str) -> tuple[str, int]:
    """Read the columns and the row count of a file: from the metadata of Parquet, otherwise from the whole file.

    Args:
        path: path of the file, whose extension determines the format.

    Returns:
        The columns, as text that is equal for compatible files, and the number of rows.

    Raises:
        StorageError: the file cannot be read.
        ValueError: the file is damaged, for example copied only in part.
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
                    raise ValueError(f"row {rows:,} has {counted(len(row), 'cell')}, expected {len(header)}")
        except csv.Error as error:
            raise ValueError(str(error)) from error
    return ",".join(header), rows
