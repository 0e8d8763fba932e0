from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogue.images.spec import Limits
from catalogue.reasons import StorageError
from pipeline.journal import part_files
from pipeline.journal.chunk_files import Settings
from pipeline.journal.part_files import read_part, write_part
from pipeline.records import Result

SETTINGS = Settings("model", 3, 5, Limits(max_bytes=100))
SCORE = float(np.float32(1 / 3))
RESULTS = [
    Result("/a", "v1", "hash", (("hat", SCORE), ("ü", 0.25))),
    Result("/b", reason="read_failed", transient=True, message="gone"),
    Result("/c", "v2", "other", reason="corrupt", message="torn"),
]


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_what_is_written_is_read(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_files, "_BATCH_ROWS", 7)
    results = (RESULTS * 7)[:count]
    path = str(tmp_path / "part.parquet")
    assert write_part(path, results, SETTINGS) == count
    batches = list(read_part(path))
    assert [result for _, batch in batches for result in batch] == results
    assert all(settings == SETTINGS for settings, _ in batches)


def test_another_file_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("text")
    pq.write_table(pa.table({"uri": ["a"]}), tmp_path / "table.parquet")
    for name in ("text", "table"):
        with pytest.raises(StorageError, match="is not a journal part"):
            list(read_part(str(tmp_path / f"{name}.parquet")))


def test_a_part_with_a_byte_changed_has_no_other_results(tmp_path: Path) -> None:
    """Results may be missing; the images of missing results are classified again."""
    path, damaged = tmp_path / "part.parquet", 0
    write_part(str(path), RESULTS, SETTINGS)
    data = path.read_bytes()
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            found = {result for _, batch in read_part(str(path)) for result in batch}
        except StorageError:
            damaged += 1
        else:
            assert found <= set(RESULTS), position
    assert damaged > len(data) / 3 / 2
