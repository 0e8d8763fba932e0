from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from catalogue.images.spec import Limits
from pipeline.journal import open_chunks
from pipeline.journal.chunk_files import Settings, read_images, read_results
from pipeline.journal.write_chunks import WriteChunks, _WriteChunksFn
from pipeline.records import Chunk, FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 5, Limits())


def finished(number: int, rows: int = 1, reason: str | None = None) -> FinishedImage:
    listed = ListedImage(f"/{number}", tuple((f"{number}/{row}", {}) for row in range(rows)))
    return FinishedImage(listed, Result(listed.location, top=() if reason else (("hat", 0.5),), reason=reason))


def test_images_to_chunks_and_their_statistics(tmp_path: Path) -> None:
    images = [finished(n, rows=1 + n % 2, reason="empty" if n % 10 == 0 else None) for n in range(100)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        written = pipeline | beam.Create(images) | WriteChunks(str(tmp_path), SETTINGS, max_rows=30)
        rows = written.chunks | beam.Map(lambda chunk: (chunk.predictions, chunk.dead_letters))
        assert_that(rows | "rows" >> beam.combiners.ToList() | "sum of rows" >> beam.Map(sums), equal_to([(140, 10)]))
        totals = written.statistics | beam.Map(lambda own: (own.images, own.predictions, own.dead_letters["empty"]))
        assert_that(totals | beam.combiners.ToList() | beam.Map(sums), equal_to([(100, 140, 10)]), label="statistics")
    chunks = list(tmp_path.iterdir())
    assert len(chunks) >= 5
    found = [image for path in chunks for image in read_images(str(path))]
    assert sorted(found, key=lambda image: int(image.listed.location[1:])) == images


def sums(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def test_a_chunk_is_closed_in_the_middle_of_a_bundle_once_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(open_chunks.time, "monotonic", lambda: now)
    fn = _WriteChunksFn(str(tmp_path), SETTINGS, 1000)
    fn.start_bundle()
    assert list(fn.process(finished(0))) == []
    now += 31
    (chunk,) = fn.process(finished(1))
    assert chunk == Chunk(chunk.path, images=2, predictions=2, dead_letters=0)
    assert Path(chunk.path).exists()


def test_the_open_chunk_of_a_bundle_that_failed_is_saved_and_not_passed_on(tmp_path: Path) -> None:
    fn = _WriteChunksFn(str(tmp_path), SETTINGS, 1000)
    fn.start_bundle()
    list(fn.process(finished(0)))
    fn.teardown()
    (saved,) = tmp_path.iterdir()
    fn.start_bundle()
    list(fn.process(finished(1)))
    chunk, statistics = fn.finish_bundle()
    assert [image.listed.location for image in read_images(chunk.value.path)] == ["/1"]
    assert statistics.value.value.images == 1
    assert [result.location for result in read_results(str(saved))[1]] == ["/0"]
