from __future__ import annotations

from pathlib import Path

import pytest

from catalogue.images.spec import Limits
from catalogue.reasons import Reason, StorageError
from pipeline.journal import known, saved
from pipeline.journal.chunk_files import ChunkWriter, Settings
from pipeline.journal.saved import SavedResults
from pipeline.records import FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 5, Limits())


def write_chunk(folder: Path, packets: dict[int, list[str]], settings: Settings = SETTINGS) -> str:
    writer = ChunkWriter(str(folder), settings)
    for packet, locations in packets.items():
        for location in locations:
            result = Result(location, "v", "hash", (("hat", 0.5),))
            writer.write(FinishedImage(ListedImage(location, ((location, {}),), packet=packet), result))
    return writer.close()


def found(results: SavedResults, packet: int, location: str) -> list[Result]:
    return [result for own in results.of(packet) for result in own.get(location, ())]


def test_only_chunks_of_the_packet_are_read_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, each worker would read the chunks of all other workers."""
    paths = [write_chunk(tmp_path, {n: [f"/{n}.jpg"], n + 1: [f"/{n + 1}.jpg"]}) for n in range(0, 20, 2)]
    read, read_results = [], known.read_results
    monkeypatch.setattr(known, "read_results", lambda path: read.append(path) or read_results(path))
    results = SavedResults(str(tmp_path), SETTINGS)
    results.begin()
    assert read == []
    assert [result.version for result in found(results, 6, "/6.jpg")] == ["v"]
    assert found(results, 7, "/7.jpg")
    assert not found(results, 7, "/9.jpg")
    assert read == [paths[3]]
    assert list(results.of(500)) == []


def test_results_under_other_settings_are_left_out(tmp_path: Path) -> None:
    write_chunk(tmp_path, {1: ["/a.jpg"]}, Settings("another model", 3, 5, Limits()))
    results = SavedResults(str(tmp_path), SETTINGS)
    results.begin()
    assert not found(results, 1, "/a.jpg")


def test_what_a_lost_worker_saves_a_little_later_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(saved.time, "monotonic", lambda: now)
    results = SavedResults(str(tmp_path), SETTINGS)
    results.begin()
    write_chunk(tmp_path, {1: ["/a.jpg"]})
    assert not found(results, 1, "/a.jpg")
    now += 16
    assert found(results, 1, "/a.jpg")
    write_chunk(tmp_path, {packet: [f"/{packet}.jpg"] for packet in range(100)})
    assert not found(results, 5, "/5.jpg")
    now += 60
    assert len(found(results, 5, "/5.jpg")) == 1


def test_a_folder_that_cannot_be_listed_has_no_saved_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: str) -> None:
        raise StorageError(Reason.READ_FAILED, folder)

    monkeypatch.setattr(saved, "files_in", fails)
    results = SavedResults(str(tmp_path), SETTINGS)
    results.begin()
    assert list(results.of(0)) == []
