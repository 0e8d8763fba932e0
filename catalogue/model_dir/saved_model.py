"""Inference with the SavedModel of a model directory.

The SavedModel has constants instead of variables, and batch norm is folded into the convolutions, see
`catalogue.model_dir.graph`. It loads in a third of the time that it would take without this. For further training, use
``model.keras`` in the same directory.

Only the graph of one signature is loaded. `catalogue.model_dir.directory.read` has checked its operations, whereas
``tf.saved_model.load`` would also run the SavedModel's own restore operations.
"""

from __future__ import annotations

import itertools
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as SavedModelMessage

from catalogue.model_dir import graph
from catalogue.model_dir.directory import ModelDir
from catalogue.model_dir.operations import SERVING


class SavedModel:
    """Loaded network of a model directory: uint8 [N, H, W, 3] to probabilities. Thread-safe.

    Args:
        path: local model directory.
        config, in_bfloat16: session options, see `catalogue.model_dir.graph.in_session`.
    """

    def __init__(self, path: str | os.PathLike[str], config: Any = None, *, in_bfloat16: bool = False) -> None:
        function = graph.constant(_signature(Path(path), SERVING))
        self._run = graph.in_session(function, config, in_bfloat16=in_bfloat16)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classify images uint8 [N, H, W, 3]. Return probabilities, float32 [N, K]."""
        return self._run(images)[0]


def _signature(folder: Path, name: str) -> Any:
    """Load a signature of a frozen SavedModel as a concrete function."""
    (meta_graph,) = SavedModelMessage.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    signature = meta_graph.signature_def[name]
    inputs = [tensor.name for tensor in signature.inputs.values()]
    outputs = [tensor.name for tensor in signature.outputs.values()]
    needed = [tensor.partition(":")[0] for tensor in (*inputs, *outputs)]
    definition = _with_own_names(tf.compat.v1.graph_util.extract_sub_graph(meta_graph.graph_def, needed))
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    return wrapped.prune(inputs, outputs)


def _with_own_names(definition: Any) -> Any:
    """Rename the functions of a graph so that their names are unique in this process."""
    suffix = f"_{uuid.uuid4().hex}"
    functions = definition.library.function
    names = {function.signature.name for function in functions}
    for node in itertools.chain(definition.node, *(function.node_def for function in functions)):
        if node.op in names:
            node.op += suffix
        for attribute in node.attr.values():
            for called in (attribute.func, *attribute.list.func):
                if called.name in names:
                    called.name += suffix
    for function in functions:
        function.signature.name += suffix
    return definition


def load(model: ModelDir) -> SavedModel:
    """Load the network of a model directory and check that it reproduces its golden images.

    Raises:
        ModelDirError: the network does not reproduce its golden images.
    """
    network = SavedModel(model.path)
    model.check_golden(network)
    return network
