"""TensorFlow graph rewriting: fold batch norm into convolutions, and run the graph, optionally in bfloat16.

TensorFlow fuses a convolution with the offset and activation after it, but not with per-channel factors, as in batch
norm. After a depthwise convolution, the factors remain a separate pass over the whole output, and offset and activation
add two more passes. MobileNetV2 spends a fifth of its time in these passes in float32, and half in bfloat16.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from catalogue.model_dir import bfloat16

_CONVOLUTION, _DEPTHWISE = "Conv2D", "DepthwiseConv2dNative"

_FACTORS, _OFFSETS = ("Mul",), ("Add", "AddV2", "BiasAdd")


def constant(function: Any) -> Any:
    """Freeze a concrete function: return it with its variables as constants and its function calls inlined."""
    return convert_variables_to_constants_v2(function)


def merged(function: Any) -> Any:
    """Fold the per-channel factors and offsets after each convolution into its weights and one offset per channel.

    Args:
        function: frozen function, see `constant`.

    Returns:
        A concrete function with the same outputs, up to float32 rounding.
    """
    graph = _Graph(function)
    chains = [(node, chain) for node in graph.convolutions() if (chain := list(graph.after(node)))]
    values = graph.values(
        [node.input[1] for node, _ in chains] + [step.constant for _, chain in chains for step in chain]
    )
    for node, chain in chains:
        weights = values[node.input[1]].astype(np.float64)
        by_channel = weights.shape[2:] if node.op == _DEPTHWISE else weights.shape[3:]
        factors, offsets = np.ones(by_channel), np.zeros(by_channel)
        for step in chain:
            value = values[step.constant]
            value = value.reshape(by_channel) if value.size > 1 else value.reshape(())
            if step.node.op in _FACTORS:
                factors, offsets = factors * value, offsets * value
            else:
                offsets = offsets + value
        node.input[1] = graph.add_constant(f"{node.name}/merged_weights", weights * factors)
        graph.replace_by_offset(
            chain[-1].node, node, graph.add_constant(f"{node.name}/merged_offsets", offsets.ravel())
        )
    return graph.function()


def with_kernels(function: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Return a concrete function with the weights of its convolutions replaced.

    Args:
        function: frozen function, see `constant`.
        change: function of weights float32 [O, I, h, w], with output and input channels, or of a depthwise convolution
            [C, M, h, w], with channels and filters per channel, that returns new weights of the same shape.
    """
    graph = _Graph(function)
    nodes = list(graph.convolutions())
    values = graph.values([node.input[1] for node in nodes])
    for node in nodes:
        order = (2, 3, 0, 1) if node.op == _DEPTHWISE else (3, 2, 0, 1)
        weights = change(np.ascontiguousarray(values[node.input[1]].transpose(order)))
        node.input[1] = graph.add_constant(f"{node.name}/weights", weights.transpose(np.argsort(order)))
    return graph.function()


def in_session(function: Any, config: Any = None, *, in_bfloat16: bool = False) -> Callable[..., list[np.ndarray]]:
    """Return a callable that runs a concrete function in its own session.

    A session has its own configuration, while eager mode has one per process.

    Args:
        function: frozen function, see `constant`.
        config: `tf.compat.v1.ConfigProto`, for example with the number of threads.
        in_bfloat16: whether convolutions, and the operations between them, run in bfloat16, with weights rounded by
            `catalogue.model_dir.bfloat16.kernels`. Only for CPUs, see `catalogue.model_dir.bfloat16.is_native`.

    Returns:
        A thread-safe function of one array per input that returns one array per output.
    """
    config = config or tf.compat.v1.ConfigProto()
    if in_bfloat16:
        function = with_kernels(function, bfloat16.kernels)
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = RewriterConfig.ON
    inputs, outputs = ([tensor.name for tensor in tensors] for tensors in (function.inputs, function.outputs))
    session = tf.compat.v1.Session(graph=function.graph, config=config)
    return lambda *arrays: session.run(outputs, dict(zip(inputs, arrays, strict=True)))


class _Step(NamedTuple):
    """Operation with one constant operand.

    Attributes:
        node: the operation.
        constant: name of the constant operand.
    """

    node: Any
    constant: str


class _Graph:
    """Editable graph of a concrete function."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._definition = function.graph.as_graph_def()
        self._nodes = {node.name: node for node in self._definition.node}
        self._consumers = collections.defaultdict(list)
        for node in self._definition.node:
            # Control dependencies can be dropped: a frozen network has no side effects.
            operands = [name for name in node.input if not name.startswith("^")]
            del node.input[:]
            node.input.extend(operands)
            for name in operands:
                self._consumers[_node_of(name)].append(node)
        self._constant: dict[str, bool] = {}

    def convolutions(self) -> Iterator[tf.compat.v1.NodeDef]:
        """Yield the float32 convolutions in NHWC format whose weights are constant."""
        for node in list(self._definition.node):
            if node.op not in (_CONVOLUTION, _DEPTHWISE) or node.attr["T"].type != tf.float32.as_datatype_enum:
                continue
            if node.attr["data_format"].s in (b"", b"NHWC") and self._is_constant(node.input[1]):
                yield node

    def after(self, convolution: Any) -> Iterator[_Step]:
        """Yield, in order, the operations after a convolution that multiply or shift its channels by constants."""
        node, channels = convolution, self._tensor(convolution.name).shape[-1]
        while len(self._consumers[node.name]) == 1 and node.name not in self._outputs():
            (consumer,) = self._consumers[node.name]
            others = [name for name in consumer.input if _node_of(name) != node.name]
            if consumer.op not in (*_FACTORS, *_OFFSETS) or len(others) != 1 or not self._is_constant(others[0]):
                return
            shape = self._tensor(others[0]).shape
            if shape.num_elements() != 1 and (shape.num_elements() != channels or shape[-1] != channels):
                return
            yield _Step(consumer, others[0])
            node = consumer

    def values(self, names: list[str]) -> dict[str, np.ndarray]:
        """Return the values of constant tensors by name."""
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.compat.v1.Session(graph=self._function.graph, config=config) as session:
            return dict(zip(names, session.run([self._tensor(name) for name in names]), strict=True))

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Add a float32 constant and return its name."""
        node = self._definition.node.add(op="Const", name=name)
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
        return name

    def replace_by_offset(self, node: Any, convolution: Any, offsets: str) -> None:
        """Turn a node into one that only adds offsets to the output of a convolution."""
        node.op = "BiasAdd"
        del node.input[:]
        node.input.extend([convolution.name, offsets])
        node.attr.clear()
        node.attr["T"].type = tf.float32.as_datatype_enum

    def function(self) -> Any:
        """Return a concrete function of the edited graph, without unused nodes."""
        inputs, outputs = self._function.inputs, self._function.outputs
        needed = [tensor.op.name for tensor in (*inputs, *outputs)]
        definition = tf.compat.v1.graph_util.extract_sub_graph(self._definition, needed)
        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
        return wrapped.prune([tensor.name for tensor in inputs], [tensor.name for tensor in outputs])

    def _outputs(self) -> set[str]:
        return {tensor.op.name for tensor in self._function.outputs}

    def _tensor(self, name: str) -> tf.Tensor:
        return self._function.graph.get_tensor_by_name(name if ":" in name else f"{name}:0")

    def _is_constant(self, name: str) -> bool:
        """Return whether a tensor has the same value in every call."""
        name = _node_of(name)
        if name not in self._constant:
            node = self._nodes[name]
            operation = self._function.graph.get_operation_by_name(name)
            self._constant[name] = not operation.op_def.is_stateful and (
                node.op == "Const" or (bool(node.input) and all(map(self._is_constant, node.input)))
            )
        return self._constant[name]


def _node_of(name: str) -> str:
    """Return the name of the node that an input refers to."""
    return name.partition(":")[0]


def folded(function: Any) -> Callable[..., list[tf.Tensor]]:
    """Freeze a concrete function and fold batch norm into its convolutions, see `merged`.

    The returned function returns a list of tensors, and is not affected by later changes to the variables.
    """
    frozen = merged(constant(function))
    return lambda *arguments: tf.nest.flatten(frozen(*map(tf.convert_to_tensor, arguments)))
