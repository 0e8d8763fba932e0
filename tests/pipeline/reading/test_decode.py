from __future__ import annotations

import hashlib
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from catalogue.images.reader import ImageSpec, Limits, read_image
from pipeline.metering.meter import meter
from pipeline.reading import decode as images
from pipeline.records import DeadLetter, Entry, EntryData

LIMITS = Limits()


def test_every_line_of_an_image_that_cannot_be_decoded_becomes_a_dead_letter(drawn: Path, tmp_path: Path) -> None:
    good = (drawn / "hat/00.jpg").read_bytes()
    rows = {name: ((f"{name}1", {"n": 1}), (f"{name}2", {})) for name in "abc"}
    data = [EntryData(Entry(name, rows[name]), b"" if name == "b" else good) for name in "abc"]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outcome = pipeline | beam.Create(data) | images.Decode(ImageSpec(32), LIMITS, str(tmp_path))
        seen = outcome.results | beam.Map(lambda image: (image.entry.location, image.image.shape))
        assert_that(seen, equal_to([("a", (32, 32, 3)), ("c", (32, 32, 3))]))
        letters = [
            DeadLetter("b1", "empty", False, "0 bytes", {"n": 1}),
            DeadLetter("b2", "empty", False, "0 bytes", {}),
        ]
        assert_that(outcome.dead_letters, equal_to(letters), label="dead letters")
    assert meter(str(tmp_path)).take().seconds["decoding"] > 0


def test_a_fault_of_the_program_is_not_swallowed(tmp_path: Path) -> None:
    wrong = EntryData(Entry("a", ()), 5)  # type: ignore[arg-type]
    with (
        pytest.raises(Exception, match="object supporting the buffer API"),
        beam.Pipeline(runner="FnApiRunner") as pipeline,
    ):
        pipeline | beam.Create([wrong]) | images.Decode(ImageSpec(32), LIMITS, str(tmp_path))


def test_decode_keeps_the_hash_of_the_bytes(drawn: Path) -> None:
    data = (drawn / "hat/00.jpg").read_bytes()
    decoded = images.decode(EntryData(Entry("a", ()), data), ImageSpec(32), LIMITS)
    assert decoded.content_hash == hashlib.sha256(data).hexdigest()
    np.testing.assert_array_equal(decoded.image, read_image(data, ImageSpec(32)))
