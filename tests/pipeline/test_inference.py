from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import inference
from pipeline.records import Entry, EntryImage, EntryScores
from trainer import model_dir
from trainer.model_dir import ModelDirError

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


def test_the_handler_gives_what_the_model_gives(tiny_model: Path) -> None:
    info = model_dir.read(tiny_model).info
    images, golden = model_dir.read(tiny_model).golden()
    handler = inference.SavedModelHandler(str(tiny_model), info.id, 8, 2)
    model = handler.load_model()
    batch = [EntryImage(Entry(f"/{number}", ()), f"{number}", image) for number, image in enumerate(images)]
    results = list(handler.run_inference(batch, model))
    assert [result.entry.location for result in results] == [f"/{number}" for number in range(len(images))]
    for result, row in zip(results, golden, strict=True):
        assert len(result.top) == 2
        assert result.top[0][0] == info.labels[row.argmax()]
        assert result.top[0][1] == pytest.approx(row.max(), abs=1e-5)
    assert handler.get_num_bytes(batch) == len(images) * 32 * 32 * 3
    assert handler.batch_elements_kwargs() == {"min_batch_size": 8, "max_batch_size": 8}


def test_another_model_in_the_same_place_is_refused(tiny_model: Path) -> None:
    handler = inference.SavedModelHandler(str(tiny_model), "another", 8, 2)
    with pytest.raises(ModelDirError, match="the run began with another"):
        handler.load_model()


def test_a_remote_directory_that_cannot_be_read() -> None:
    with (
        pytest.raises(ModelDirError, match="carrier-pigeon://loft cannot be read"),
        inference.fetched("carrier-pigeon://loft"),
    ):
        pass
