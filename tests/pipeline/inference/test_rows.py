from __future__ import annotations

from pathlib import Path

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from pipeline.inference.rows import Rows, _RowsFn, predictions
from pipeline.metering.measurement import Total
from pipeline.metering.meter import MeterHandle
from pipeline.records import EngineChoice, ListedImage, ScoredImage


def test_every_line_of_the_manifest_gets_its_row() -> None:
    entry = ListedImage("/a", (("a", {"sku": 1}), ("./a", {"sku": 2})))
    scores = ScoredImage(entry, "hash", (("hat", 0.9), ("shoe", 0.1)))
    one, two = predictions(scores, "model")
    assert (one.uri, one.fields, two.uri, two.fields) == ("a", {"sku": 1}, "./a", {"sku": 2})
    assert {(row.label, row.score, row.model_id, row.content_hash) for row in (one, two)} == {
        ("hat", 0.9, "model", "hash")
    }


def test_each_bundle_says_what_it_did(tmp_path: Path) -> None:
    meter = MeterHandle(str(tmp_path))

    def work(scores: ScoredImage) -> ScoredImage:
        meter.get().add_batch(1, EngineChoice("tensorflow", "float32", "CPU"))
        meter.get().add_seconds("decoding", 0.25)
        return scores

    scores = [ScoredImage(ListedImage(f"/{n}", ((f"{n}", {}),)), "hash", (("hat", 0.9),)) for n in range(2)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows, measurements = pipeline | beam.Create(scores, reshuffle=False) | beam.Map(work) | Rows("model", meter)
        assert_that(rows | beam.Map(lambda row: row.uri), equal_to(["0", "1"]))
        total = (
            measurements
            | beam.CombineGlobally(Total())
            | beam.Map(lambda one: (one.batches, one.seconds["decoding"], one.seconds["all"] > 0, len(one.processes)))
        )
        assert_that(total, equal_to([({1: 2}, 0.5, True, 1)]), label="measurements")


def test_a_bundle_that_is_tried_again_counts_once(tmp_path: Path) -> None:
    choice, meter = EngineChoice("tensorflow", "float32", "CPU"), MeterHandle(str(tmp_path))
    rows = _RowsFn("model", meter)
    rows.setup()
    rows.start_bundle()
    meter.get().add_batch(16, choice)  # and then it failed
    rows.start_bundle()
    meter.get().add_batch(16, choice)
    (measured,) = rows.finish_bundle()
    assert measured.value.value.engines == {choice: 16}
