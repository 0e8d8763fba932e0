from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalogue import model_dir
from catalogue.images.reader import read_image
from catalogue.images.spec import RESIZE_RULES, ImageSpec
from catalogue.model_dir import saved_model
from trainer.export import signatures

# A server without any of our code: only TensorFlow and the directory.
BARE_TENSORFLOW = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
golden = [f"{sys.argv[1]}/golden/{name}" for name in json.loads(sys.argv[2])]
images = tf.stack([tf.io.decode_png(tf.io.read_file(path)) for path in golden])
probabilities = model.signatures["serving_default"](images=images)["probabilities"].numpy().tolist()
served = model.signatures["serve_bytes"](data=tf.constant([tf.io.read_file(path).numpy() for path in sys.argv[3:]]))
labels = [[label.decode() for label in row] for row in served["labels"].numpy()]
assert not [name for name in sys.modules if name.split(".")[0] in ("trainer", "pipeline", "apache_beam")]
print(json.dumps([probabilities, labels, served["scores"].numpy().tolist()]))
"""


def test_bare_tensorflow_serves_both_signatures(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    model = model_dir.read(tiny_model)
    images, golden = model.golden()
    names = sorted(file.name for file in (tiny_model / "golden").glob("*.png"))
    photos = [str(drawn / label / "00.jpg") for label in ("dress", "hat", "shoes")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", BARE_TENSORFLOW, str(tiny_model), json.dumps(names), *photos],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    probabilities, labels, scores = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(probabilities, golden, atol=1e-5)
    assert len(names) == len(images) >= 3
    for row_labels, row_scores in zip(labels, scores, strict=True):
        assert sorted(row_labels) == sorted(model.info.labels)
        assert row_scores == sorted(row_scores, reverse=True)
        assert sum(row_scores) == pytest.approx(1, abs=1e-5)


def test_the_signatures_are_those_of_the_contract(tiny_model: Path) -> None:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(tiny_model)).signatures
    images = signatures["serving_default"].structured_input_signature[1]["images"]
    assert (images.shape.as_list(), images.dtype) == ([None, 32, 32, 3], tf.uint8)
    probabilities = signatures["serving_default"].structured_outputs["probabilities"]
    assert (probabilities.shape.as_list(), probabilities.dtype) == ([None, 3], tf.float32)
    data = signatures["serve_bytes"].structured_input_signature[1]["data"]
    assert (data.shape.as_list(), data.dtype) == ([None], tf.string)
    assert set(signatures["serve_bytes"].structured_outputs) == {"labels", "scores"}


@pytest.mark.parametrize("rule", RESIZE_RULES)
@pytest.mark.parametrize("turned", [False, True])
def test_served_images_are_brought_to_the_same_shape(rule: str, turned: bool, drawn: Path) -> None:
    picture = Image.open(drawn / "dress/00.jpg").crop((0, 60, 240, 200))
    buffer = io.BytesIO()
    (picture.transpose(Image.Transpose.ROTATE_90) if turned else picture).save(buffer, "PNG")
    spec = ImageSpec(64, rule)
    served = signatures.decoded(buffer.getvalue(), spec).numpy().astype(int)
    assert np.abs(served - read_image(buffer.getvalue(), spec)).mean() < 1.5


def test_nothing_is_left_to_be_restored(tiny_model: Path) -> None:
    """All weights are constants of the graph, which makes loading fast and lets every reader fold layers."""
    import tensorflow as tf

    names = [name for name, _ in tf.train.list_variables(str(tiny_model / "variables/variables"))]
    assert names == ["_CHECKPOINTABLE_OBJECT_GRAPH"]


def test_the_loaded_model_gives_the_golden_probabilities(tiny_model: Path) -> None:
    images, golden = model_dir.read(tiny_model).golden()
    model = saved_model.SavedModel(tiny_model)
    for batch in (1, 2, len(images)):
        np.testing.assert_allclose(model(images[:batch]), golden[:batch], atol=1e-5)
