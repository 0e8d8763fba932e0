"""Allowlist of SavedModel operations: a model that could do more than compute is rejected before it is loaded.

A SavedModel is a program. TensorFlow has operations that read and write files, open connections or call Python, and
runs them unchecked. Only operations that compute from their inputs alone are permitted here.

``saved_model.pb`` is parsed with minimal definitions of its protobuf messages, because TensorFlow's definitions take
seconds to import. The field numbers come from tensorflow/core: protobuf/saved_model.proto, protobuf/meta_graph.proto,
framework/graph.proto, framework/function.proto, framework/node_def.proto and framework/attr_value.proto.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from catalogue.model_dir.info import ModelDirError

SERVING, SERVING_BYTES = "serving_default", "serve_bytes"

# Operations of the networks in keras.applications and trainer.networks, and similar ones.
_COMPUTING = """
Abs Add AddN AddV2 All Any ArgMax ArgMin AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd
BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Const Conv2D Cumsum DepthToSpace DepthwiseConv2dNative Div DivNoNan
Einsum Elu Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN LRN LeakyRelu Less LessEqual Log Log1p
LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean Min Minimum MirrorPad Mul Neg NoOp
NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder Pow Prod Range Rank RealDiv Reciprocal Relu Relu6
Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt ScaleAndTranslate Select SelectV2 Selu
Shape ShapeN Sigmoid Sign Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square
SquaredDifference Squeeze StatefulPartitionedCall StopGradient StridedSlice Sub Sum Tanh Tile TopKV2 Transpose Unpack
Where ZerosLike
"""
# Additional operations of `SERVING_BYTES`, which decodes the image files one by one.
_DECODING = """
Assert DecodeImage StatelessWhile TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem
TensorListStack While
"""
# Operations that TensorFlow adds to every SavedModel for saving and restoring; no signature may reach them.
_SAVING = "MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin"

COMPUTING, DECODING = frozenset(_COMPUTING.split()), frozenset(_DECODING.split())
_INITIALIZING = "__saved_model_init_op"
_PERMITTED = {SERVING: COMPUTING, SERVING_BYTES: COMPUTING | DECODING, _INITIALIZING: frozenset({"NoOp"})}

_PACKAGE = "catalogue_classifier"
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {  # message -> field -> number and type; * marks a repeated field
    "SavedModel": {"meta_graphs": (2, "MetaGraph*")},
    "MetaGraph": {"graph": (2, "Graph"), "signatures": (5, "SignatureEntry*")},
    "SignatureEntry": {"key": (1, "string"), "value": (2, "Signature")},
    "Signature": {"outputs": (2, "TensorEntry*")},
    "TensorEntry": {"key": (1, "string"), "value": (2, "Tensor")},
    "Tensor": {"name": (1, "string")},
    "Graph": {"nodes": (1, "Node*"), "library": (2, "Library")},
    "Library": {"functions": (1, "Function*")},
    "Function": {"signature": (1, "Operation"), "nodes": (3, "Node*")},
    "Operation": {"name": (1, "string")},
    "Node": {"name": (1, "string"), "operation": (2, "string"), "inputs": (3, "string*"), "attributes": (5, "Entry*")},
    "Entry": {"key": (1, "string"), "value": (2, "Value")},
    "Value": {"list": (1, "Values"), "function": (10, "Called")},
    "Values": {"functions": (9, "Called*")},
    "Called": {"name": (1, "string")},
}


def check(folder: Path, name: str) -> None:
    """Reject a SavedModel that could do more than compute.

    Args:
        folder: folder of the SavedModel.
        name: name of the model directory, for the error message.

    Raises:
        ModelDirError: the SavedModel has an operation that is not permitted, lacks the signature `SERVING`, or cannot
            be parsed.
    """
    try:
        (meta_graph,) = _message("SavedModel").FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    except (DecodeError, ValueError):
        raise ModelDirError(f"{name}: its saved_model.pb is not a SavedModel with one graph") from None
    program = _Program(meta_graph.graph)
    found = {signature.key: set(program.reached_from(signature.value)) for signature in meta_graph.signatures}
    if SERVING not in found:
        raise ModelDirError(f"{name}: its SavedModel has no signature {SERVING}")
    refused = program.operations() - COMPUTING - DECODING - set(_SAVING.split())
    for signature, operations in found.items():
        refused |= operations - _PERMITTED.get(signature, COMPUTING)
    if refused:
        raise ModelDirError(
            f"{name}: its SavedModel has operations that are not permitted ({', '.join(sorted(refused))}): "
            "a model is a program, so only use models from sources you trust"
        )


class _Program:
    """Nodes of a graph and of the functions it calls."""

    def __init__(self, graph: Any) -> None:
        self._nodes = {node.name: node for node in graph.nodes}
        self._functions = {function.signature.name: function.nodes for function in graph.library.functions}

    def operations(self) -> set[str]:
        """Return the operations of all nodes, reachable or not."""
        nodes = [*self._nodes.values(), *(node for own in self._functions.values() for node in own)]
        return {node.operation for node in nodes} - self._functions.keys()

    def reached_from(self, signature: Any) -> Iterator[str]:
        """Yield the operations that a signature runs."""
        seen: set[str] = set()
        waiting = [_node_of(output.value.name) for output in signature.outputs]
        called: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self._nodes:
                seen.add(name)
                node = self._nodes[name]
                yield node.operation
                called.update(_calls([node]))
                waiting.extend(map(_node_of, node.inputs))
        yield from self._within(called)

    def _within(self, called: set[str]) -> Iterator[str]:
        """Yield the operations of functions, and of the functions they call, recursively."""
        seen, waiting = set(called), list(called)
        while waiting:
            nodes = self._functions.get(waiting.pop(), [])
            yield from (node.operation for node in nodes if node.operation not in self._functions)
            more = set(_calls(nodes)) - seen
            seen |= more
            waiting.extend(more)


def _calls(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield the names of the functions that nodes call; the operation itself may be a function."""
    for node in nodes:
        yield node.operation
        for attribute in node.attributes:
            if attribute.value.function.name:
                yield attribute.value.function.name
            yield from (function.name for function in attribute.value.list.functions)


def _node_of(name: str) -> str:
    """Return the node name in an input or output such as ``^node`` or ``node:0``."""
    return name.lstrip("^").partition(":")[0]


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        descriptor = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = descriptor.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            if kind.rstrip("*") == "string":
                field.type = field.TYPE_STRING
            else:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _message(name: str) -> Any:
    """Return the class of a protobuf message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))
