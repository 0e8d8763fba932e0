from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec, Limits
from pipeline.journal.chunk_files import Settings
from pipeline.journal.content_index import ContentIndex
from pipeline.metering.meter import MeterHandle
from pipeline.reading.decode import Decode, decode
from pipeline.reading.identical import ResultsByContentHandle
from pipeline.records import DeadLetter, FetchedImage, ListedImage

LIMITS = Limits()
NOTHING_KNOWN = ResultsByContentHandle(ContentIndex((), Settings("model", 3, 5, LIMITS)))


def test_every_line_of_an_image_that_cannot_be_decoded_becomes_a_dead_letter(drawn: Path, tmp_path: Path) -> None:
    good = (drawn / "hat/00.jpg").read_bytes()
    rows = {name: ((f"{name}1", {"n": 1}), (f"{name}2", {})) for name in "abc"}
    data = [FetchedImage(ListedImage(name, rows[name]), b"" if name == "b" else good, name, None) for name in "abc"]
    handle = MeterHandle(str(tmp_path))
    meter = handle.get()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outcome = pipeline | beam.Create(data) | Decode(ImageSpec(32), LIMITS, handle, NOTHING_KNOWN)
        seen = outcome.results | beam.Map(lambda image: (image.listed.location, image.image.shape))
        assert_that(seen, equal_to([("a", (32, 32, 3)), ("c", (32, 32, 3))]))
        letters = outcome.finished | beam.FlatMap(lambda image: image.dead_letters())
        expected = [
            DeadLetter("b1", "empty", False, "0 bytes", {"n": 1}),
            DeadLetter("b2", "empty", False, "0 bytes", {}),
        ]
        assert_that(letters, equal_to(expected), label="dead letters")
    assert meter.take().seconds["decoding"] > 0


def test_a_fault_of_the_program_is_not_swallowed(tmp_path: Path) -> None:
    wrong = FetchedImage(ListedImage("a", ()), 5, "hash", None)  # type: ignore[arg-type]
    handle = MeterHandle(str(tmp_path))
    with (
        pytest.raises(Exception, match="has no len"),
        beam.Pipeline(runner="FnApiRunner") as pipeline,
    ):
        pipeline | beam.Create([wrong]) | Decode(ImageSpec(32), LIMITS, handle, NOTHING_KNOWN)


def test_decode_keeps_the_hash_of_the_bytes(drawn: Path) -> None:
    data = (drawn / "hat/00.jpg").read_bytes()
    decoded = decode(FetchedImage(ListedImage("a", ()), data, "hash", None), ImageSpec(32), LIMITS)
    assert decoded.content_hash == "hash"
    np.testing.assert_array_equal(decoded.image, read_image(data, ImageSpec(32)))
