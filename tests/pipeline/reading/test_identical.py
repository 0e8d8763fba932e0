from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from catalogue.images.spec import ImageSpec, Limits
from pipeline.journal.chunk_files import Settings
from pipeline.journal.content_index import ContentIndex
from pipeline.journal.part_files import write_part
from pipeline.metering.meter import MeterHandle
from pipeline.reading import identical
from pipeline.reading.decode import Decode
from pipeline.reading.identical import Pending, RememberResults, ResultsByContent, ResultsByContentHandle
from pipeline.records import CONTENT, IDENTICAL, DecodedImage, FetchedImage, FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 2, Limits())
NO_INDEX = ContentIndex((), SETTINGS)


def fetched(number: int, content: str, data: bytes = b"") -> FetchedImage:
    return FetchedImage(ListedImage(f"/{number}", ((f"{number}", {}),)), data, content, f"v{number}")


def decoded(image: FetchedImage) -> DecodedImage:
    return DecodedImage(image.listed, image.content_hash, image.version, np.zeros((8, 8, 3), np.uint8))


class Classify(beam.DoFn):
    """DoFn that classifies in batches, as inference does; a batch has three images here."""

    def start_bundle(self) -> None:
        self.batch: list[DecodedImage] = []

    def process(self, image: DecodedImage) -> Iterator[FinishedImage]:
        self.batch.append(image)
        if len(self.batch) == 3:
            yield from self.classified()

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window, self.classified())

    def classified(self) -> Iterator[FinishedImage]:
        for image in self.batch:
            top = ((image.content_hash, 0.5),)
            yield FinishedImage(image.listed, Result(image.listed.location, image.version, image.content_hash, top))
        self.batch = []


@pytest.mark.parametrize("remembers", [True, False], ids=["results remembered", "results not remembered"])
def test_each_image_has_the_result_of_its_bytes_and_none_is_lost(
    remembers: bool, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identical, "_MOST_PENDING", 5)
    good = (drawn / "hat/00.jpg").read_bytes()
    contents = [f"{number % 7 if number % 2 else number}" for number in range(200)]
    images = [fetched(number, content, good) for number, content in enumerate(contents)]
    results = ResultsByContentHandle(NO_INDEX)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outcome = (
            pipeline
            | beam.Create(images, reshuffle=False)
            | Decode(ImageSpec(32), Limits(), MeterHandle(str(tmp_path)), results)
        )
        classified = outcome.results | beam.ParDo(Classify())
        if remembers:
            classified |= RememberResults(results)
        found = (classified, outcome.finished) | beam.Flatten()
        rows = found | beam.Map(lambda one: (one.result.location, one.result.version, one.result.top[0][0]))
        expected = [(f"/{number}", f"v{number}", content) for number, content in enumerate(contents)]
        assert_that(rows, equal_to(expected))
        saved = outcome.finished | beam.combiners.Count.Globally()
        once = len(contents) - len(set(contents))
        assert_that(saved, equal_to([once if remembers else 0]), label="saved")


def test_an_image_that_waits_holds_no_bytes_and_ends_with_the_pixels_of_the_other() -> None:
    results = ResultsByContent(NO_INDEX)
    pending, first = Pending(results), fetched(1, "a")
    assert not pending.wait(first)
    assert list(pending.add(decoded(first))) == []
    assert pending.wait(fetched(2, "a", b"bytes"))
    assert list(pending.answered()) == []
    (rest,) = pending.rest()
    assert (rest.listed.location, rest.version) == ("/2", "v2")
    assert list(pending.rest()) == []


def test_only_the_newest_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identical, "_KEPT_RESULTS", 2)
    results = ResultsByContent(NO_INDEX)
    for content in "abc":
        results.add(Result("/x", None, content, (("hat", 0.5),)))
    assert [results.find(content) is not None for content in "abc"] == [False, True, True]
    found = results.finish(fetched(9, "b"))
    assert found == FinishedImage(fetched(9, "b").listed, Result("/9", "v9", "b", (("hat", 0.5),)), IDENTICAL)


@pytest.mark.parametrize("count", [1, 2000])
def test_an_image_that_was_moved_has_the_prediction_of_an_earlier_run(tmp_path: Path, count: int) -> None:
    scores = [float(np.float32(number / count / 2)) for number in range(count)]
    earlier = [
        Result(f"/{n}", "v", f"{n * 2654435761 % 2**64:064x}"[::-1], ((f"c{n % 7}", 0.5), ("hat", score)))
        for n, score in enumerate(scores)
    ]
    half = (count + 1) // 2
    for number, part in enumerate((earlier[:half], earlier[half:])):
        write_part(str(tmp_path / f"part-{number}.parquet"), part, SETTINGS)
    results = ResultsByContent(ContentIndex((str(tmp_path),), SETTINGS))
    for result in earlier:
        found = results.finish(fetched(5000, str(result.content_hash)))
        assert found
        assert (found.result.top, found.result.location, found.source) == (result.top, "/5000", CONTENT)
    assert results.finish(fetched(5000, "f" * 64)) is None
    other = ResultsByContent(ContentIndex((str(tmp_path),), Settings("another", 3, 2, Limits())))
    assert other.finish(fetched(5000, str(earlier[0].content_hash))) is None


def test_only_a_few_images_wait_for_a_result_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identical, "_MOST_WAITING", 2)
    pending, first = Pending(ResultsByContent(NO_INDEX)), fetched(0, "a")
    list(pending.add(decoded(first)))
    assert [pending.wait(fetched(number, "a")) for number in (1, 2, 3)] == [True, True, False]
    assert list(pending.add(decoded(fetched(3, "a")))) == []
    assert [image.listed.location for image in pending.rest()] == ["/1", "/2"]
