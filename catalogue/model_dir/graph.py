"""Graphs of TensorFlow, rewritten so that their convolutions do what comes after them, and run, in bfloat16 if need be.

TensorFlow itself puts the offset and the activation after a convolution into it, but not what multiplies its channels,
as batch normalisation does: after a depthwise convolution that stays a pass over all of its output, and the offset and
the activation two more. MobileNetV2 spends a fifth of its time there in float32, half of it in bfloat16.
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
    """A concrete function with its variables as constants and what it calls put into it."""
    return convert_variables_to_constants_v2(function)


def merged(function: Any) -> Any:
    """What multiplies and shifts the channels of a convolution becomes part of its weights and one offset for each.

    Args:
        function: as `constant` gives it.

    Returns:
        A concrete function that gives the same, up to the rounding of float32.
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
    """Other weights for the convolutions.

    Args:
        function: as `constant` gives it.
        change: weights float32 [..., I, h, w], where I is the input channels, to others of the same shape.
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
    """Runs a concrete function in a session of its own, since eager mode has one configuration for all of a process.

    Args:
        function: as `constant` gives it.
        config: a `tf.compat.v1.ConfigProto`, as the number of threads.
        in_bfloat16: whether convolutions, with weights rounded by `catalogue.model_dir.bfloat16.kernels`, and what is
            between them
            compute in bfloat16; for processors, see `catalogue.model_dir.bfloat16.is_native`.

    Returns:
        A function of one array for each input to one for each output. Safe to call from several threads.
    """
    config = config or tf.compat.v1.ConfigProto()
    if in_bfloat16:
        function = with_kernels(function, bfloat16.kernels)
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = RewriterConfig.ON
    inputs, outputs = ([tensor.name for tensor in tensors] for tensors in (function.inputs, function.outputs))
    session = tf.compat.v1.Session(graph=function.graph, config=config)
    return lambda *arrays: session.run(outputs, dict(zip(inputs, arrays, strict=True)))


class _Step(NamedTuple):
    """An operation with one constant operand, which is named."""

    node: Any
    constant: str


class _Graph:
    """The nodes of a concrete function."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._definition = function.graph.as_graph_def()
        self._nodes = {node.name: node for node in self._definition.node}
        self._consumers = collections.defaultdict(list)
        for node in self._definition.node:
            # Whatever else a node waits for has no effects: all that a network reads is constant.
            operands = [name for name in node.input if not name.startswith("^")]
            del node.input[:]
            node.input.extend(operands)
            for name in operands:
                self._consumers[_node_of(name)].append(node)
        self._constant: dict[str, bool] = {}

    def convolutions(self) -> Iterator[tf.compat.v1.NodeDef]:
        """Those of float32 whose weights are constant."""
        for node in list(self._definition.node):
            if node.op not in (_CONVOLUTION, _DEPTHWISE) or node.attr["T"].type != tf.float32.as_datatype_enum:
                continue
            if node.attr["data_format"].s in (b"", b"NHWC") and self._is_constant(node.input[1]):
                yield node

    def after(self, convolution: Any) -> Iterator[_Step]:
        """The operations after a convolution that do something to each channel, in their order."""
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
        """Of constant tensors."""
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.compat.v1.Session(graph=self._function.graph, config=config) as session:
            return dict(zip(names, session.run([self._tensor(name) for name in names]), strict=True))

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Adds a float32 constant. Returns its name."""
        node = self._definition.node.add(op="Const", name=name)
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
        return name

    def replace_by_offset(self, node: Any, convolution: Any, offsets: str) -> None:
        """A node adds offsets to the output of a convolution and does nothing else any more."""
        node.op = "BiasAdd"
        del node.input[:]
        node.input.extend([convolution.name, offsets])
        node.attr.clear()
        node.attr["T"].type = tf.float32.as_datatype_enum

    def function(self) -> Any:
        """A concrete function of the nodes as they are now, without those that nothing needs any more."""
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
        """Whether a tensor is the same in every call."""
        name = _node_of(name)
        if name not in self._constant:
            node = self._nodes[name]
            operation = self._function.graph.get_operation_by_name(name)
            self._constant[name] = not operation.op_def.is_stateful and (
                node.op == "Const" or (bool(node.input) and all(map(self._is_constant, node.input)))
            )
        return self._constant[name]


def _node_of(name: str) -> str:
    """The node that an input names."""
    return name.partition(":")[0]


def folded(function: Any) -> Callable[..., list[tf.Tensor]]:
    """A concrete function with its variables as constants, from which TensorFlow makes fewer operations.

    It gives a list of tensors. Later changes of the variables do not reach it.
    """
    frozen = merged(constant(function))
    return lambda *arguments: tf.nest.flatten(frozen(*map(tf.convert_to_tensor, arguments)))
