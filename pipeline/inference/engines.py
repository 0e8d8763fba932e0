"""What runs the network of a model directory on a worker: the fastest engine and precision that are right there.

==========  ============================================================================================================
tensorflow  always there; runs on the machine's GPUs if it has any
openvino    extra ``openvino``; for processors; reads the SavedModel itself, so that a worker never imports TensorFlow
==========  ============================================================================================================

A candidate is taken only if it reproduces the golden images on this very machine: the same first labels, and no
probability further off than `TOLERANCES` says.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib.util
import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from catalogue.cli.console import UserError
from catalogue.model_dir import bfloat16
from catalogue.model_dir.directory import GOLDEN_MARGIN, GOLDEN_TOLERANCE, REPAIR, ModelDir, ModelDirError
from catalogue.model_dir.saved_model import SavedModel
from pipeline import machine
from pipeline.records import AUTO, BFLOAT16, FLOAT32, OPENVINO, TENSORFLOW, EngineChoice

TOLERANCES = {FLOAT32: GOLDEN_TOLERANCE, BFLOAT16: GOLDEN_MARGIN / 2}
_ADVICE = {FLOAT32: REPAIR, BFLOAT16: "leave --precision to itself, or give --precision float32"}
_FIRST_CHOICE = {  # by whether the engine and whether the precision was asked for
    (False, False): "the fastest; reproduces the golden images",
    (False, True): "the fastest in this precision",
    (True, False): "asked for, in its fastest precision",
    (True, True): "asked for",
}
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_NO_BFLOAT16 = "the processor has no instructions for bfloat16"
# Images at once on a processor: few fit into its cache, many take few calls. With MobileNetV2 at 224 pixels OpenVINO is
# 1.1 times as slow with 8 as with 4, TensorFlow with 4 as with 8.
_AT_ONCE = {OPENVINO: 4, TENSORFLOW: 8}


@dataclasses.dataclass(frozen=True)
class Threads:
    """How the cores of a worker process are divided.

    Attributes:
        callers: threads that run batches at the same time.
        per_batch: threads that a batch is run on.
    """

    callers: int
    per_batch: int


class Engine(Protocol):
    """A network, ready to run. Safe to call from several threads.

    Attributes:
        choice: what it is, and why.
        labels: in the order of the probabilities.
    """

    choice: EngineChoice
    labels: tuple[str, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K]."""


class Unsupported(Exception):
    """An engine or a precision that this machine cannot run, or that it gains nothing by."""


def choose(model: ModelDir, threads: Threads, *, engine: str = AUTO, precision: str = AUTO) -> Engine:
    """The fastest engine that the machine supports and that reproduces the golden images.

    Args:
        model: what is to be run.
        threads: what it is to be run on.
        engine: one of `pipeline.records.ENGINES`.
        precision: one of `pipeline.records.PRECISIONS`.

    Raises:
        UserError: what is asked for by name is not to be had on this machine.
        ModelDirError: the golden images are not reproduced.
    """
    why_not: dict[str, UserError] = {}
    for name, wanted in _candidates(engine, precision):
        made = _tried(model, threads, name, wanted)
        if isinstance(made, ModelDirError):
            why_not[f"{name} in {wanted} does not reproduce the golden images"] = made
            continue
        if isinstance(made, Unsupported):
            why_not.setdefault(str(made), UserError(f"--engine {name} --precision {wanted}: {made}"))
            continue
        why = "; ".join(why_not) or _FIRST_CHOICE[engine != AUTO, precision != AUTO]
        made.choice = dataclasses.replace(made.choice, reason=why)
        logging.getLogger(__name__).info("engine: %s", made.choice.in_words())
        return made
    failures = list(why_not.values())
    wrong = [error for error in failures if isinstance(error, ModelDirError)]
    raise wrong[-1] if wrong else failures[0]  # the last one is of the highest precision


def _tried(model: ModelDir, threads: Threads, name: str, precision: str) -> Engine | ModelDirError | Unsupported:
    """An engine, or why it cannot be used."""
    try:
        made: Engine = _BUILDERS[name](model, precision, threads)
        model.check_golden(made, tolerance=TOLERANCES[precision], advice=_ADVICE[precision])
    except (ModelDirError, Unsupported) as error:
        return error
    return made


def check(engine: str) -> None:
    """Refuses an engine whose extra is not installed in this process. Raises UserError."""
    if engine == OPENVINO and not _has_openvino():
        raise UserError("--engine openvino needs the extra openvino: pip install -e '.[openvino]'")


def _candidates(engine: str, precision: str) -> Iterator[tuple[str, str]]:
    """Engines and precisions, the fastest first, GPUs before all."""
    engines = [OPENVINO, TENSORFLOW] if engine == AUTO else [engine]
    if engine == AUTO and _has_gpu():
        engines.reverse()
    for name in engines:
        for wanted in (BFLOAT16, FLOAT32) if precision == AUTO else (precision,):
            yield name, wanted


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _has_gpu() -> bool:
    """Whether TensorFlow can use a GPU; it is not imported where there is none."""
    if not machine.has_gpu():
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


class _TensorFlow:
    """The SavedModel in TensorFlow, on a GPU if there is one."""

    def __init__(self, model: ModelDir, precision: str, threads: Threads) -> None:
        if precision == BFLOAT16 and _has_gpu():
            raise Unsupported("TensorFlow runs in float32 on a GPU")
        if precision == BFLOAT16 and not bfloat16.is_native():
            raise Unsupported(_NO_BFLOAT16)
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        with contextlib.suppress(RuntimeError):  # TensorFlow has taken the GPUs already
            for gpu in gpus:  # loading, which comes before the session, would take all of their memory
                tf.config.experimental.set_memory_growth(gpu, True)
        if gpus:  # or convolutions are in TensorFloat-32, of 10 bits
            tf.config.experimental.enable_tensor_float_32_execution(False)
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads.per_batch,
            inter_op_parallelism_threads=threads.callers,
            use_per_session_threads=True,
            gpu_options=tf.compat.v1.GPUOptions(allow_growth=True),
        )
        self._run = SavedModel(model.path, config, in_bfloat16=precision == BFLOAT16)
        self._too_large: tuple[type[Exception], ...] = (tf.errors.ResourceExhaustedError,)
        self._largest = 0 if gpus else _AT_ONCE[TENSORFLOW]
        self.labels = model.info.labels
        self.choice = EngineChoice(TENSORFLOW, precision, "GPU" if gpus else "CPU")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]; on a GPU in parts once a batch did not fit into its memory."""
        size = self._largest or len(images)
        try:
            return _in_parts(self._run, images, size)
        except self._too_large:
            size = min(size, len(images))
            if size == 1:
                raise
            self._largest = min(self._largest or size, size // 2)  # another thread may have come further down
            logging.getLogger(__name__).warning(
                "%d images did not fit into memory at once: %d from now on", size, self._largest
            )
            return self(images)


class _OpenVino:
    """The SavedModel in OpenVINO, one stream of threads for each caller."""

    def __init__(self, model: ModelDir, precision: str, threads: Threads) -> None:
        if not _has_openvino():
            raise Unsupported("the extra openvino is not installed")
        import openvino

        core = openvino.Core()
        if precision == BFLOAT16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unsupported(_NO_BFLOAT16)
        try:
            network = core.read_model(str(model.path))
            if precision == BFLOAT16:
                round_weights(network)
            options = {
                "INFERENCE_PRECISION_HINT": "bf16" if precision == BFLOAT16 else "f32",
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": threads.callers,
                "INFERENCE_NUM_THREADS": threads.callers * threads.per_batch,
                "ENABLE_CPU_PINNING": False,  # or two processes would pin themselves to the same core
            }
            self._compiled = core.compile_model(network, "CPU", options)
        except RuntimeError as error:  # an operation that it does not know
            raise Unsupported(f"OpenVINO cannot run this network: {error}") from error
        self._requests: collections.deque[Any] = collections.deque()
        self.labels = model.info.labels
        self.choice = EngineChoice(OPENVINO, precision, "CPU")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]."""
        try:
            request = self._requests.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            return _in_parts(
                lambda part: request.infer([np.ascontiguousarray(part)], share_inputs=True)[0],
                images,
                _AT_ONCE[OPENVINO],
            )
        finally:
            self._requests.append(request)


_BUILDERS: dict[str, Any] = {TENSORFLOW: _TensorFlow, OPENVINO: _OpenVino}


def _in_parts(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int) -> np.ndarray:
    parts = [run(images[start : start + size]) for start in range(0, len(images), size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def round_weights(network: Any) -> None:
    """Rounds the convolutions of an `openvino.Model` to bfloat16 with `catalogue.model_dir.bfloat16.kernels`."""
    from openvino import opset13 as operations

    for node in network.get_ordered_ops():
        weights = node.input_value(1).get_node() if node.get_type_name() in _CONVOLUTIONS else None
        if weights and weights.get_type_name() == "Constant":
            rounded = bfloat16.kernels(np.array(weights.data, np.float32))
            node.input(1).replace_source_output(operations.constant(rounded).output(0))
    network.validate_nodes_and_infer_types()
