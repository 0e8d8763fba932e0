from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipeline import images
from pipeline.records import DeadLetter, Entry, EntryData
from trainer.preprocessing import ImageError, ImageSpec, Limits, Reason

LIMITS = Limits()


def fail_for_b(data: EntryData) -> str:
    if data.entry.location == "b":
        raise ImageError(Reason.CORRUPT, "torn")
    return data.entry.location.upper()


def test_every_line_of_a_failed_image_becomes_a_dead_letter() -> None:
    entries = [EntryData(Entry(name, ((f"{name}1", {"n": 1}), (f"{name}2", {}))), b"") for name in "abc"]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outcome = pipeline | beam.Create(entries) | images.OrDeadLetter(fail_for_b)
        assert_that(outcome.results, equal_to(["A", "C"]))
        letters = [
            DeadLetter("b1", "corrupt", False, "torn", {"n": 1}),
            DeadLetter("b2", "corrupt", False, "torn", {}),
        ]
        assert_that(outcome.dead_letters, equal_to(letters), label="dead letters")


def fault(_: EntryData) -> None:
    raise RuntimeError("a fault of the program")


def test_a_fault_of_the_program_is_not_swallowed() -> None:
    with pytest.raises(Exception, match="a fault of the program"), beam.Pipeline(runner="FnApiRunner") as pipeline:
        pipeline | beam.Create([EntryData(Entry("a", ()), b"")]) | images.OrDeadLetter(fault)


def test_decode_keeps_the_hash_of_the_bytes(drawn: Path) -> None:
    import hashlib

    data = (drawn / "hat/00.jpg").read_bytes()
    decoded = images.decode(EntryData(Entry("a", ()), data), spec=ImageSpec(32), limits=LIMITS)
    assert decoded.content_hash == hashlib.sha256(data).hexdigest()
    assert decoded.image.shape == (32, 32, 3)
