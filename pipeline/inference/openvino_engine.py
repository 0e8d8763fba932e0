"""OpenVINO engine: runs the SavedModel with one stream per caller. Needs the extra ``openvino``."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as operations

from catalogue.model_dir import ModelDir, bfloat16
from pipeline.inference.engine import NO_BFLOAT16, Threads, Unsupported, in_parts
from pipeline.records import BFLOAT16, OPENVINO, EngineChoice

# Images per call. Small batches fit into the CPU cache; large batches need fewer calls. MobileNetV2 at 224 pixels takes
# 1.1 times as long with 8 as with 4.
AT_ONCE = 4
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVinoEngine:
    """OpenVINO implementation of `pipeline.inference.engine.Engine`. The constructor raises Unsupported."""

    def __init__(self, model: ModelDir, precision: str, threads: Threads) -> None:
        core = openvino.Core()
        if precision == BFLOAT16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unsupported(NO_BFLOAT16)
        try:
            network = core.read_model(str(model.path))
            if precision == BFLOAT16:
                round_weights(network)
            options = {
                "INFERENCE_PRECISION_HINT": "bf16" if precision == BFLOAT16 else "f32",
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": threads.callers,
                "INFERENCE_NUM_THREADS": threads.callers * threads.per_batch,
                "ENABLE_CPU_PINNING": False,  # pinning would put two processes on the same core
            }
            self._compiled = core.compile_model(network, "CPU", options)
        except RuntimeError as error:  # for example an unsupported operation
            raise Unsupported(f"OpenVINO cannot run this network: {error}") from error
        self._requests: collections.deque[Any] = collections.deque()
        self.labels = model.info.labels
        self.choice = EngineChoice(OPENVINO, precision, "CPU")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classify images, uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K]."""
        try:
            request = self._requests.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            return in_parts(
                lambda part: request.infer([np.ascontiguousarray(part)], share_inputs=True)[0],
                images,
                AT_ONCE,
            )
        finally:
            self._requests.append(request)


def round_weights(network: Any) -> None:
    """Round the convolution weights of an `openvino.Model` in place with `catalogue.model_dir.bfloat16.kernels`."""
    for node in network.get_ordered_ops():
        weights = node.input_value(1).get_node() if node.get_type_name() in _CONVOLUTIONS else None
        if weights and weights.get_type_name() == "Constant":
            rounded = bfloat16.kernels(np.array(weights.data, np.float32))
            node.input(1).replace_source_output(operations.constant(rounded).output(0))
    network.validate_nodes_and_infer_types()
