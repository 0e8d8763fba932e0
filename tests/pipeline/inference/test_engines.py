from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogue import model_dir
from catalogue.cli.errors import UserError
from catalogue.model_dir import ModelDir, ModelDirError, bfloat16
from pipeline.inference import engines
from pipeline.inference.engines import Threads

TWO = Threads(callers=2, per_batch=1)


needs_bfloat16 = pytest.mark.skipif(not bfloat16.is_native(), reason="this processor has no instructions for bfloat16")


@pytest.fixture
def model(tiny_model: Path) -> ModelDir:
    return model_dir.read(tiny_model)


@pytest.fixture
def clothing_images(clothing: Path) -> np.ndarray:
    from catalogue.images.reader import read_image
    from catalogue.images.spec import ImageSpec

    files = sorted((clothing / "validation").rglob("*.jpg"))[::4]
    return np.stack([read_image(file.read_bytes(), ImageSpec(224)) for file in files])


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_each_engine_gives_the_probabilities_of_the_model(name: str, model: ModelDir) -> None:
    images, golden = model.golden()
    engine = engines.choose(model, TWO, engine=name, precision="float32")
    assert (engine.choice.engine, engine.choice.precision, engine.choice.reason) == (name, "float32", "requested")
    assert engine.labels == model.info.labels
    for batch in (1, 3, len(images)):
        np.testing.assert_allclose(engine(images[:batch]), golden[:batch], atol=1e-4)


@pytest.mark.parametrize(
    "error",
    [ImportError("libtbb.so.12: no such file"), RuntimeError("Could not determine\nhome directory"), OSError(5, "bad")],
)
def test_an_engine_that_cannot_be_used_is_passed_over(
    error: Exception, model: ModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = engines._build

    def fail(name: str, *arguments: Any) -> Any:
        if name == "openvino":
            raise error
        return build(name, *arguments)

    monkeypatch.setattr(engines, "_build", fail)
    choice = engines.choose(model, TWO).choice
    assert choice.engine == "tensorflow"
    assert choice.reason.startswith(f"openvino cannot be used: {type(error).__name__}: ")
    assert "\n" not in choice.reason
    with pytest.raises(UserError, match=r"--engine openvino .*: openvino cannot be used: "):
        engines.choose(model, TWO, engine="openvino")


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_threads_do_not_get_each_others_rows(name: str, model: ModelDir) -> None:
    images, golden = model.golden()
    engine = engines.choose(model, Threads(4, 1), engine=name, precision="float32")
    wrong: list[int] = []

    def work(seed: int) -> None:
        chance = np.random.default_rng(seed)
        for _ in range(40):
            rows = chance.integers(0, len(images), chance.integers(1, 9))
            if np.abs(engine(images[rows]) - golden[rows]).max() > 1e-3:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_auto_picks_the_fastest_engine_that_is_right(model: ModelDir, monkeypatch: pytest.MonkeyPatch) -> None:
    best = engines.choose(model, TWO).choice
    assert best.engine == "openvino"
    assert best.precision == ("bfloat16" if bfloat16.is_native() else "float32")
    if bfloat16.is_native():
        assert best.reason == "fastest that reproduces the golden images"
        for asked, reason in (
            ({"engine": "tensorflow"}, "requested, in its fastest precision"),
            ({"precision": "float32"}, "fastest in this precision"),
        ):
            assert engines.choose(model, TWO, **asked).choice.reason == reason
    monkeypatch.setitem(engines.TOLERANCES, "bfloat16", 0.0)
    second = engines.choose(model, TWO).choice
    assert (second.engine, second.precision) == ("openvino", "float32")
    assert second.reason == "openvino in bfloat16 does not reproduce the golden images"
    monkeypatch.setattr(engines, "_has_openvino", lambda: False)
    third = engines.choose(model, TWO).choice
    assert (third.engine, third.precision) == ("tensorflow", "float32")
    assert third.reason.startswith("the extra openvino is not installed")
    assert third.reason.count("openvino") == 1


def test_a_gpu_is_tried_first_and_not_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    found = list(engines._candidates("auto", "auto"))
    assert [name for name, _ in found] == ["tensorflow", "tensorflow", "openvino", "openvino"]
    monkeypatch.setattr(engines, "_has_gpu", lambda: False)
    assert list(engines._candidates("auto", "float32")) == [("openvino", "float32"), ("tensorflow", "float32")]


def test_a_requested_engine_that_is_not_available_is_refused(model: ModelDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.TOLERANCES, "float32", -1.0)
    with pytest.raises(ModelDirError, match=r"does not reproduce \d+ of its \d+ golden images"):
        engines.choose(model, TWO, engine="openvino", precision="float32")
    with pytest.raises(ModelDirError, match=r"does not reproduce \d+ of its \d+ golden images"):
        engines.choose(model, TWO, precision="float32")
    monkeypatch.setattr(engines, "_has_openvino", lambda: False)
    with pytest.raises(UserError, match="--engine openvino --precision float32: the extra openvino is not installed"):
        engines.choose(model, TWO, engine="openvino", precision="float32")
    with pytest.raises(UserError, match=r"needs the extra openvino: pip install -e '\.\[openvino\]'"):
        engines.check("openvino")


def test_another_label_is_refused_however_near_it_is(model: ModelDir) -> None:
    _, golden = model.golden()
    swapped = golden.copy()
    swapped[0] = np.roll(golden[0], 1)
    with pytest.raises(ModelDirError, match="1 with another label"):
        model.check_golden(lambda _: swapped, tolerance=2.0)


@needs_bfloat16
@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_weights_rounded_together_keep_the_labels_of_a_real_network(
    name: str, clothing_model: Path, clothing_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is MobileNetV2. Its first layers lose accuracy in bfloat16 if each weight is rounded alone."""
    model = model_dir.read(clothing_model)
    exact = in_batches(engines.choose(model, TWO, engine=name, precision="float32"), clothing_images)
    together = in_batches(engines.choose(model, TWO, engine=name, precision="bfloat16"), clothing_images)
    monkeypatch.setattr(bfloat16, "kernels", lambda weights: weights)
    monkeypatch.setitem(engines.TOLERANCES, "bfloat16", 1.0)
    try:
        alone = in_batches(engines.choose(model, TWO, engine=name, precision="bfloat16"), clothing_images)
        assert np.abs(together - exact).mean() < np.abs(alone - exact).mean() / 2
    except ModelDirError:  # rounded alone, the weights may even change the labels of golden images
        pass
    assert (together.argmax(1) == exact.argmax(1)).mean() >= 0.97
    assert np.abs(together - exact).max() > 1e-4  # proves that it ran in bfloat16


def in_batches(engine: engines.Engine, images: np.ndarray) -> np.ndarray:
    return np.concatenate([engine(images[start : start + 16]) for start in range(0, len(images), 16)])


def test_openvino_does_without_tensorflow(tiny_model: Path, repository: Path) -> None:
    code = (
        "import sys; from catalogue import model_dir; from pipeline.inference import engines, handler\n"
        "engine = engines.choose(model_dir.read(sys.argv[1]), engines.Threads(1, 1))\n"
        "print(engine.choice.engine, [name for name in sys.modules if name in ('tensorflow', 'keras')])"
    )
    words = [sys.executable, "-c", code, str(tiny_model)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "openvino []"


def test_on_a_processor_no_more_images_are_run_at_once_than_its_caches_hold(
    model: ModelDir, out_of_memory: type[Exception]
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 4, 3), dtype=np.uint8)
    engine = engines.choose(model, TWO, engine="tensorflow")
    device = engine._run = Full(100, out_of_memory)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(engine(images), images.mean(axis=(1, 2)))
    assert device.sizes == [8, 8, 4]

    class Request:
        def infer(self, inputs: list[np.ndarray], **options: object) -> list[np.ndarray]:
            return [device(inputs[0])]

    engine = engines.choose(model, TWO, engine="openvino")
    engine._requests.append(Request())  # type: ignore[attr-defined]
    device.sizes.clear()
    np.testing.assert_array_equal(engine(images), images.mean(axis=(1, 2)))
    assert device.sizes == [4, 4, 4, 4, 4]


def test_gpus_are_not_filled_before_the_network_is_loaded(model: ModelDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory growth of the (fake) GPUs must be set before loading, which would reserve all of their memory."""
    import tensorflow as tf

    from catalogue.model_dir import saved_model

    told: list[object] = []
    load = saved_model._signature
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *given: told.append(given))
    monkeypatch.setattr(saved_model, "_signature", lambda *given: told.append("loaded") or load(*given))
    engine = engines.choose(model, TWO, engine="tensorflow", precision="float32")
    assert told == [("first", True), ("second", True), "loaded"]
    assert engine.choice.device == "GPU"


class Full:
    """A device with memory for `room` images."""

    def __init__(self, room: int, error: type[Exception]) -> None:
        self.room, self.error, self.sizes = room, error, list[int]()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise self.error(None, None, "out of memory")
        return images.mean(axis=(1, 2))


@pytest.fixture
def out_of_memory() -> type[Exception]:
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError


def test_a_batch_that_does_not_fit_is_halved_and_later_ones_too(
    model: ModelDir, out_of_memory: type[Exception]
) -> None:
    engine = engines.choose(model, TWO, engine="tensorflow")
    engine._largest = 0  # type: ignore[attr-defined]  # as on a GPU
    device = engine._run = Full(10, out_of_memory)  # type: ignore[attr-defined]
    images = np.random.default_rng(0).integers(0, 255, (64, 4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(engine(images), images.mean(axis=(1, 2)))
    assert device.sizes == [64, 32, 16, *[8] * 8]
    device.sizes.clear()
    np.testing.assert_array_equal(engine(images[:20]), images[:20].mean(axis=(1, 2)))
    assert device.sizes == [8, 8, 4]
    device.room = 0
    with pytest.raises(out_of_memory):
        engine(images)
