from __future__ import annotations

import gc
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from catalogue.model_dir import directory as model_dir
from catalogue.model_dir.directory import ModelDirError
from pipeline.inference import handler as inference
from pipeline.inference.engines import TOLERANCES
from pipeline.inference.handler import InferenceConfig
from pipeline.metering.meter import Total, meter
from pipeline.records import EngineChoice, Entry, EntryImage, EntryScores

LABELS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("row", "k", "expected"),
    [
        ([0.2, 0.5, 0.3], 2, (("b", 0.5), ("c", 0.3))),
        ([0.25, 0.5, 0.25], 3, (("b", 0.5), ("a", 0.25), ("c", 0.25))),  # equal: in the order of the labels
        ([0.5, 0.25, 0.25], 9, (("a", 0.5), ("b", 0.25), ("c", 0.25))),
    ],
)
def test_top(row: list[float], k: int, expected: tuple[tuple[str, float], ...]) -> None:
    found = inference.top(np.array(row), LABELS, k)
    assert [label for label, _ in found] == [label for label, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected])


def test_every_line_of_the_manifest_gets_its_row() -> None:
    entry = Entry("/a", (("a", {"sku": 1}), ("./a", {"sku": 2})))
    scores = EntryScores(entry, "hash", (("hat", 0.9), ("shoe", 0.1)))
    one, two = inference.predictions(scores, "model")
    assert (one.uri, one.fields, two.uri, two.fields) == ("a", {"sku": 1}, "./a", {"sku": 2})
    assert {(row.label, row.score, row.model_id, row.content_hash) for row in (one, two)} == {
        ("hat", 0.9, "model", "hash")
    }


def config(batch_size: int = 8, engine: str = "tensorflow") -> InferenceConfig:
    return InferenceConfig(engine, "auto", batch_size, top_k=2, callers=None, threads=1)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_the_handler_gives_what_the_model_gives(engine: str, tiny_model: Path, tmp_path: Path) -> None:
    info = model_dir.read(tiny_model).info
    images, golden = model_dir.read(tiny_model).golden()
    handler = inference.SavedModelHandler(str(tiny_model), info.id, config(8, engine), str(tmp_path))
    model = handler.load_model()
    assert not any(found is model for found in gc.get_objects())  # what is kept is not looked through for rubbish
    batch = [EntryImage(Entry(f"/{number}", ()), f"{number}", image) for number, image in enumerate(images)]
    results = list(handler.run_inference(batch, model))
    assert [result.entry.location for result in results] == [f"/{number}" for number in range(len(images))]
    for result, row in zip(results, golden, strict=True):
        assert len(result.top) == 2
        assert result.top[0][0] == info.labels[row.argmax()]
        assert result.top[0][1] == pytest.approx(row.max(), abs=TOLERANCES[model.choice.precision])
    measured = meter(str(tmp_path)).take()
    assert (measured.batches, measured.engines) == ({len(images): 1}, {model.choice: len(images)})
    assert measured.seconds["inference"] > 0
    assert measured.first is not None
    assert handler.get_num_bytes(batch) == len(images) * 32 * 32 * 3
    assert handler.batch_elements_kwargs() == {"min_batch_size": 8, "max_batch_size": 8}


def test_another_model_in_the_same_place_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    handler = inference.SavedModelHandler(str(tiny_model), "another", config(), str(tmp_path))
    with pytest.raises(ModelDirError, match="the run began with another"):
        handler.load_model()


def test_each_bundle_says_what_it_did(tmp_path: Path) -> None:
    folder = str(tmp_path)

    def work(scores: EntryScores) -> EntryScores:
        meter(folder).add_batch(1, EngineChoice("tensorflow", "float32", "CPU"))
        meter(folder).add_seconds("decoding", 0.25)
        return scores

    scores = [EntryScores(Entry(f"/{n}", ((f"{n}", {}),)), "hash", (("hat", 0.9),)) for n in range(2)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows, measurements = (
            pipeline | beam.Create(scores, reshuffle=False) | beam.Map(work) | inference.Rows("model", folder)
        )
        assert_that(rows | beam.Map(lambda row: row.uri), equal_to(["0", "1"]))
        total = (
            measurements
            | beam.CombineGlobally(Total())
            | beam.Map(lambda one: (one.batches, one.seconds["decoding"], one.seconds["all"] > 0, len(one.processes)))
        )
        assert_that(total, equal_to([({1: 2}, 0.5, True, 1)]), label="measurements")


def test_a_bundle_that_is_tried_again_counts_once(tmp_path: Path) -> None:
    choice, rows = EngineChoice("tensorflow", "float32", "CPU"), inference._RowsFn("model", str(tmp_path))
    rows.start_bundle()
    meter(str(tmp_path)).add_batch(16, choice)  # and then it failed
    rows.start_bundle()
    meter(str(tmp_path)).add_batch(16, choice)
    (measured,) = rows.finish_bundle()
    assert measured.value.value.engines == {choice: 16}


def test_a_remote_directory_that_cannot_be_read() -> None:
    with (
        pytest.raises(ModelDirError, match="carrier-pigeon://loft cannot be read"),
        inference.fetched("carrier-pigeon://loft"),
    ):
        pass
