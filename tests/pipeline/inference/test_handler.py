from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from catalogue import model_dir
from catalogue.model_dir import ModelDirError
from pipeline.config import InferenceConfig
from pipeline.inference.engines import TOLERANCES
from pipeline.inference.handler import SavedModelHandler, top
from pipeline.metering.meter import MeterHandle
from pipeline.records import DecodedImage, ListedImage

LABELS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("row", "k", "expected"),
    [
        ([0.2, 0.5, 0.3], 2, (("b", 0.5), ("c", 0.3))),
        ([0.25, 0.5, 0.25], 3, (("b", 0.5), ("a", 0.25), ("c", 0.25))),  # ties in label order
        ([0.5, 0.25, 0.25], 9, (("a", 0.5), ("b", 0.25), ("c", 0.25))),
    ],
)
def test_top(row: list[float], k: int, expected: tuple[tuple[str, float], ...]) -> None:
    found = top(np.array(row), LABELS, k)
    assert [label for label, _ in found] == [label for label, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected])


def config(batch_size: int = 8, engine: str = "tensorflow") -> InferenceConfig:
    return InferenceConfig(engine, "auto", batch_size, top_k=2, callers=None, threads=1)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_the_handler_gives_what_the_model_gives(engine: str, tiny_model: Path, tmp_path: Path) -> None:
    info = model_dir.read(tiny_model).info
    images, golden = model_dir.read(tiny_model).golden()
    meter = MeterHandle(str(tmp_path))
    handler = SavedModelHandler(str(tiny_model), info.id, config(8, engine), meter)
    model = handler.load_model()
    assert not any(found is model for found in gc.get_objects())  # excluded from garbage collection
    batch = [DecodedImage(ListedImage(f"/{n}", ()), f"{n}", f"v{n}", image) for n, image in enumerate(images)]
    results = [image.result for image in handler.run_inference(batch, model)]
    assert [(result.location, result.content_hash, result.version) for result in results] == [
        (f"/{n}", f"{n}", f"v{n}") for n in range(len(images))
    ]
    for result, row in zip(results, golden, strict=True):
        assert len(result.top) == 2
        assert result.top[0][0] == info.labels[row.argmax()]
        assert result.top[0][1] == pytest.approx(row.max(), abs=TOLERANCES[model.choice.precision])
    measured = meter.get().take()
    assert (measured.batches, measured.engines) == ({len(images): 1}, {model.choice: len(images)})
    assert measured.seconds["inference"] > 0
    assert measured.first is not None
    assert handler.get_num_bytes(batch) == len(images) * 32 * 32 * 3
    assert handler.batch_elements_kwargs() == {"min_batch_size": 8, "max_batch_size": 8}


def test_another_model_in_the_same_place_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    handler = SavedModelHandler(str(tiny_model), "another", config(), MeterHandle(str(tmp_path)))
    with pytest.raises(ModelDirError, match="but the run started with another: restore that model"):
        handler.load_model()
