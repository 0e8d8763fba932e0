from __future__ import annotations

import hashlib
from pathlib import Path

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from pipeline.config import ReadConfig
from pipeline.metering.meter import MeterHandle
from pipeline.reading.read_ahead import ReadAhead
from pipeline.records import DeadLetter, ListedImage


def test_in_beam_what_cannot_be_read_becomes_dead_letters(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    listed = [ListedImage(f"{tmp_path}/{name}", ((f"{name}1", {}), (f"{name}2", {"n": 1}))) for name in "ab"]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outcome = pipeline | beam.Create(listed) | ReadAhead(ReadConfig(), MeterHandle(str(tmp_path)))
        read = outcome.results | beam.Map(lambda image: (image.listed, image.data, image.content_hash))
        assert_that(read, equal_to([(listed[0], b"a", hashlib.sha256(b"a").hexdigest())]))
        why = f"[Errno 2] No such file or directory: '{tmp_path}/b'"
        letters = outcome.finished | beam.FlatMap(lambda image: image.dead_letters())
        expected = [
            DeadLetter("b1", "not_found", False, why, {}),
            DeadLetter("b2", "not_found", False, why, {"n": 1}),
        ]
        assert_that(letters, equal_to(expected), label="dead letters")
