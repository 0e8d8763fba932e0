"""The SavedModel of a model directory, loaded to be run.

Its variables are constants and batch normalisation is folded into the convolutions, see `catalogue.model_dir.graph`, so
that it loads in a third of the time. To train it further there is ``model.keras`` beside it.

Only the graph of the one signature is loaded, whose operations `read` has looked at: ``tf.saved_model.load`` would also
run what the SavedModel says it needs for restoring itself.
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
    """The network of a model directory, loaded: uint8 [N, H, W, 3] to probabilities. Safe to call from several threads.

    Args:
        path: the local model directory.
        config, in_bfloat16: see `catalogue.model_dir.graph.in_session`.
    """

    def __init__(self, path: str | os.PathLike[str], config: Any = None, *, in_bfloat16: bool = False) -> None:
        function = graph.constant(_signature(Path(path), SERVING))
        self._run = graph.in_session(function, config, in_bfloat16=in_bfloat16)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K]."""
        return self._run(images)[0]


def _signature(folder: Path, name: str) -> Any:
    """A signature of a SavedModel whose variables are constants, as a concrete function."""
    (meta_graph,) = SavedModelMessage.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    signature = meta_graph.signature_def[name]
    inputs = [tensor.name for tensor in signature.inputs.values()]
    outputs = [tensor.name for tensor in signature.outputs.values()]
    needed = [tensor.partition(":")[0] for tensor in (*inputs, *outputs)]
    definition = _with_own_names(tf.compat.v1.graph_util.extract_sub_graph(meta_graph.graph_def, needed))
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    return wrapped.prune(inputs, outputs)


def _with_own_names(definition: Any) -> Any:
    """A graph whose functions have names that nothing else in this process has."""
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
    """Loads the network of a model directory and lets it reproduce its golden images.

    Raises:
        ModelDirError: it does not reproduce them.
    """
    network = SavedModel(model.path)
    model.check_golden(network)
    return network
