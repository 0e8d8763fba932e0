from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue import model_dir
from catalogue.model_dir import ModelDirError, file_digest, operations
from catalogue.model_dir.info import checksum


def replace_network(folder: Path, network: Callable[[Any], Any], decoder: Callable[[Any], Any] | None = None) -> None:
    """Replace the SavedModel of a model directory and correct all hashes."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.uint8, name="images")])
    def serving(images: Any) -> dict[str, Any]:
        return {"probabilities": network(images)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="data")])
    def serving_bytes(data: Any) -> dict[str, Any]:
        return {"scores": (decoder or (lambda data: tf.zeros((1, 3))))(data)}

    signatures = {"serving_default": serving, "serve_bytes": serving_bytes}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    content = json.loads((folder / "model.json").read_text())
    content["files"] = {name: file_digest(folder / name) for name in content["files"]}
    content.pop("checksum")
    (folder / "model.json").write_text(json.dumps(content | {"checksum": checksum(content)}))


def plain(images: Any) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2)))


def reads_a_file(images: Any) -> Any:
    import tensorflow as tf

    secret = tf.strings.length(tf.io.read_file("/etc/passwd"))
    return plain(images) + 0 * tf.cast(secret, tf.float32)


def writes_a_file(images: Any) -> Any:
    import tensorflow as tf

    with tf.control_dependencies([tf.io.write_file("/tmp/written", "x")]):
        return tf.identity(plain(images))


def saves_weights(images: Any) -> Any:
    import tensorflow as tf

    with tf.control_dependencies([tf.raw_ops.SaveV2(prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""],
                                                    tensors=[tf.zeros(1)])]):  # fmt: skip
        return tf.identity(plain(images))


def calls_python(images: Any) -> Any:
    import tensorflow as tf

    return tf.ensure_shape(tf.numpy_function(lambda pixels: pixels, [plain(images)], tf.float32), (None, 3))


def loops(images: Any) -> Any:
    import tensorflow as tf

    return tf.while_loop(lambda total: tf.reduce_sum(total) < 1, lambda total: [total * 2], [plain(images)])[0]


def within_a_branch(images: Any) -> Any:
    import tensorflow as tf

    return tf.cond(tf.shape(images)[0] > 1000, lambda: reads_a_file(images), lambda: plain(images))


def prints(images: Any) -> Any:
    import tensorflow as tf

    tf.print(images, output_stream="file:///tmp/printed")
    return plain(images)


@pytest.mark.parametrize(
    ("network", "operation"),
    [
        (reads_a_file, "ReadFile"),
        (writes_a_file, "WriteFile"),
        (saves_weights, "SaveV2"),
        (calls_python, "PyFunc"),
        (loops, "While"),
        (within_a_branch, "ReadFile"),
        (prints, "PrintV2"),
    ],
)
def test_a_network_that_does_more_than_compute_is_refused(
    model_copy: Path, network: Callable[[Any], Any], operation: str
) -> None:
    replace_network(model_copy, network)
    with pytest.raises(ModelDirError, match=operation) as error:
        model_dir.read(model_copy)
    assert "a model is a program" in str(error.value)


def test_decoding_images_is_permitted_in_serve_bytes(model_copy: Path) -> None:
    import tensorflow as tf

    def decoded(data: Any) -> Any:
        return tf.map_fn(lambda one: tf.reduce_mean(tf.cast(tf.io.decode_image(one), tf.float32)), data,
                         fn_output_signature=tf.float32)  # fmt: skip

    replace_network(model_copy, plain, decoded)
    model_dir.read(model_copy)
    replace_network(model_copy, plain, lambda data: tf.strings.length(tf.io.read_file(data[0])))
    with pytest.raises(ModelDirError, match="ReadFile"):
        model_dir.read(model_copy)


def test_every_network_that_can_be_trained_is_permitted() -> None:
    """These are the networks of keras.applications with unusual operations, and all of our own networks."""
    import tensorflow as tf

    from catalogue.model_dir.graph import constant
    from trainer.networks import backbones, own

    for name in ("MobileNetV3Small", "ConvNeXtTiny", "NASNetMobile", "EfficientNetV2B0", "DenseNet121", *own.NETWORKS):
        size = 32 if name in own.NETWORKS else 224
        network = backbones.build(name, "none", 227 if name == "alexnet" else size)
        run = tf.function(network, input_signature=[tf.TensorSpec(network.input_shape, tf.uint8)])
        graph = constant(run.get_concrete_function()).graph.as_graph_def()
        used = {node.op for node in graph.node}
        assert used <= operations.COMPUTING | {"StatelessRandomUniform"}, name


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"\x08\x01"])
def test_a_file_that_is_no_saved_model_is_refused(model_copy: Path, content: bytes) -> None:
    (model_copy / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelDirError, match="is not a SavedModel with one graph"):
        operations.check(model_copy, "m")
