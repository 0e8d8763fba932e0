from __future__ import annotations

from pathlib import Path

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from pipeline.metering.bundles import MeasureBundles, _MeasureBundlesFn
from pipeline.metering.measurement import Total
from pipeline.metering.meter import MeterHandle
from pipeline.records import EngineChoice, FinishedImage, ListedImage, Result


def test_each_bundle_says_what_it_did(tmp_path: Path) -> None:
    meter = MeterHandle(str(tmp_path))

    def work(image: FinishedImage) -> FinishedImage:
        meter.get().add_batch(1, EngineChoice("tensorflow", "float32", "CPU"))
        meter.get().add_seconds("decoding", 0.25)
        return image

    images = [FinishedImage(ListedImage(f"/{n}", ((f"{n}", {}),)), Result(f"/{n}")) for n in range(2)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        begin = pipeline | beam.Create(images, reshuffle=False) | beam.Map(work)
        passed, measurements = begin | MeasureBundles(meter)
        assert_that(passed | beam.Map(lambda image: image.listed.location), equal_to(["/0", "/1"]))
        total = (
            measurements
            | beam.CombineGlobally(Total())
            | beam.Map(lambda one: (one.batches, one.seconds["decoding"], one.seconds["all"] > 0, len(one.processes)))
        )
        assert_that(total, equal_to([({1: 2}, 0.5, True, 1)]), label="measurements")


def test_a_bundle_that_is_tried_again_counts_once(tmp_path: Path) -> None:
    choice, meter = EngineChoice("tensorflow", "float32", "CPU"), MeterHandle(str(tmp_path))
    fn = _MeasureBundlesFn(meter)
    fn.setup()
    fn.start_bundle()
    meter.get().add_batch(16, choice)  # then the bundle fails
    fn.start_bundle()
    meter.get().add_batch(16, choice)
    (measured,) = fn.finish_bundle()
    assert measured.value.value.engines == {choice: 16}
