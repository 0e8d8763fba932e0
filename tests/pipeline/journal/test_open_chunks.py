from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from catalogue.images.spec import Limits
from pipeline.journal import open_chunks
from pipeline.journal.chunk_files import ChunkWriter, Settings, read_results
from pipeline.journal.open_chunks import OpenChunk, save_all
from pipeline.records import FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 5, Limits())


def finished(number: int) -> FinishedImage:
    listed = ListedImage(f"/{number}", ((f"{number}", {}),))
    return FinishedImage(listed, Result(listed.location, top=(("hat", 0.5),)))


def results_in(folder: Path) -> list[Result]:
    """Read the results of the only chunk in a folder."""
    (path,) = folder.iterdir()
    return read_results(str(path))[1]


def test_saved_chunks_hold_what_has_been_written_and_take_no_more(tmp_path: Path) -> None:
    chunks = [OpenChunk(str(tmp_path / f"{number}"), SETTINGS) for number in range(3)]
    for number, chunk in enumerate(chunks):
        chunk.write(finished(number))
    closed = chunks.pop().close()
    save_all()
    assert [results_in(tmp_path / f"{number}")[0].location for number in range(3)] == ["/0", "/1", "/2"]
    assert closed.images == 1
    for chunk in chunks:
        with pytest.raises(RuntimeError, match="this worker is shutting down"):
            chunk.write(finished(9))


def test_a_chunk_that_is_saved_while_it_is_written_is_whole(tmp_path: Path) -> None:
    for attempt in range(10):
        folder = tmp_path / f"{attempt}"
        chunk, written = OpenChunk(str(folder), SETTINGS), list[int]()

        def write(chunk: OpenChunk = chunk, written: list[int] = written) -> None:
            try:
                for number in range(100_000):
                    chunk.write(finished(number))
                    written.append(number)
            except RuntimeError:
                pass

        thread = threading.Thread(target=write)
        thread.start()
        while not written:
            time.sleep(0.001)
        save_all()
        thread.join()
        assert len(results_in(folder)) == len(written) < 100_000


def test_a_storage_that_does_not_answer_delays_the_end_of_a_process_only_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(ChunkWriter, "close", lambda self: answered.wait())
    monkeypatch.setattr(open_chunks, "_SECONDS_TO_SAVE", 0.1)
    OpenChunk(str(tmp_path), SETTINGS).write(finished(0))
    start = time.monotonic()
    save_all()
    assert time.monotonic() - start < 5
    answered.set()


def test_a_chunk_that_is_being_closed_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the chunk takes half a second, and the process would end as soon as `save_all` returns."""
    begun, close = threading.Event(), ChunkWriter.close

    def slow(writer: ChunkWriter) -> str:
        begun.set()
        time.sleep(0.5)
        return close(writer)

    monkeypatch.setattr(ChunkWriter, "close", slow)
    chunk = OpenChunk(str(tmp_path), SETTINGS)
    chunk.write(finished(1))
    thread = threading.Thread(target=chunk.close)
    thread.start()
    assert begun.wait(5)
    save_all()
    assert results_in(tmp_path)[0].location == "/1"
    thread.join()
