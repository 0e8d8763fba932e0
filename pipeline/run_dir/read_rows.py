"""Rows of a run directory, read back from any of its formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from catalogue import storage
from pipeline.run_dir.values import from_cell

_BATCH_ROWS = 10_000


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of one part, in a stream, as `Prediction.to_row` and `DeadLetter.to_row` gave them.

    In JSON Lines and CSV the values of ``fields`` have the form that the file gave them; in CSV all of them are text,
    and an empty cell may have been None.

    Args:
        path: a part or chunk of ``predictions/`` or ``dead_letters/``; its ending says the format.

    Raises:
        StorageError: it cannot be read.
    """
    with storage.open_file(path) as file:
        if path.endswith(".parquet"):
            for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
                yield from ({"fields": {}} | row for row in batch.to_pylist())
        elif path.endswith(".csv"):
            with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
                yield from map(_from_csv, csv.DictReader(text))
        else:
            yield from map(json.loads, file)


def _from_csv(cells: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"fields": {}}
    for name, cell in cells.items():
        text = from_cell(cell)
        if name.startswith("fields."):
            row["fields"][name.removeprefix("fields.")] = text
        elif name.startswith("top."):
            _, rank, part = name.split(".")
            if cell:  # there may be fewer classes than ranks
                row.setdefault("top", {}).setdefault(int(rank), {})[part] = float(cell) if part == "score" else text
        elif name == "score":
            row[name] = float(cell)
        elif name == "transient":
            row[name] = cell == "true"
        else:
            row[name] = text
    if "label" in row:
        row["top"] = [entry for _, entry in sorted(row.get("top", {}).items())]
    return row
