from __future__ import annotations

import collections
from pathlib import Path

import pytest

from catalogue.images.spec import Limits
from catalogue.reasons import Reason, StorageError
from pipeline.journal import known, saved
from pipeline.journal.chunk_files import ChunkWriter, Settings
from pipeline.journal.saved import SavedResults
from pipeline.manifest.partitions import partition_of
from pipeline.records import FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 5, Limits())
LOCATIONS = [f"/{number}.jpg" for number in range(5000)]


def write_chunk(folder: Path, locations: list[str], settings: Settings = SETTINGS) -> str:
    writer = ChunkWriter(str(folder), settings)
    for location in locations:
        result = Result(location, "v", "hash", (("hat", 0.5),))
        writer.write(FinishedImage(ListedImage(location, ((location, {}),)), result))
    return writer.close()


def by_partition() -> dict[int, list[str]]:
    found = collections.defaultdict(list)
    for location in LOCATIONS:
        found[partition_of(location)].append(location)
    return found


def test_only_chunks_of_the_partition_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each worker would read what all others have written."""
    own = by_partition()
    paths = [write_chunk(tmp_path, own[number] + own[number + 1]) for number in range(0, 20, 2)]
    read, read_results = [], known.read_results
    monkeypatch.setattr(known, "read_results", lambda path: read.append(path) or read_results(path))
    results = SavedResults(str(tmp_path), SETTINGS)
    results.look()
    assert read == []
    assert [result.location for result in results.of(6)] == own[6]
    assert read == [paths[3]]
    assert list(results.of(500)) == []


def test_results_under_other_settings_are_left_out(tmp_path: Path) -> None:
    location = LOCATIONS[0]
    write_chunk(tmp_path, [location], Settings("another model", 3, 5, Limits()))
    results = SavedResults(str(tmp_path), SETTINGS)
    results.look()
    assert list(results.of(partition_of(location))) == []


def test_a_folder_that_cannot_be_listed_costs_no_more_than_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: str) -> None:
        raise StorageError(Reason.READ_FAILED, folder)

    monkeypatch.setattr(saved, "files_in", fails)
    results = SavedResults(str(tmp_path), SETTINGS)
    results.look()
    assert list(results.of(0)) == []
