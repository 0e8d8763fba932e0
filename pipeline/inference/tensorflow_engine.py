"""The TensorFlow engine: the SavedModel in TensorFlow, on a GPU if there is one."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import tensorflow as tf

from catalogue.model_dir import ModelDir, bfloat16
from catalogue.model_dir.saved_model import SavedModel
from pipeline.inference.engine import NO_BFLOAT16, Threads, Unsupported, in_parts
from pipeline.records import BFLOAT16, TENSORFLOW, EngineChoice

# Images at once on a processor: few fit into its cache, many take few calls. With MobileNetV2 at 224 pixels it is 1.1
# times as slow with 4 as with 8.
AT_ONCE = 8


class TensorFlowEngine:
    """See `pipeline.inference.engine.Engine`. Raises Unsupported."""

    def __init__(self, model: ModelDir, precision: str, threads: Threads) -> None:
        if precision == BFLOAT16 and has_gpu():
            raise Unsupported("TensorFlow runs in float32 on a GPU")
        if precision == BFLOAT16 and not bfloat16.is_native():
            raise Unsupported(NO_BFLOAT16)
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
        self._largest = 0 if gpus else AT_ONCE
        self.labels = model.info.labels
        self.choice = EngineChoice(TENSORFLOW, precision, "GPU" if gpus else "CPU")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]; on a GPU in parts once a batch did not fit into its memory."""
        size = self._largest or len(images)
        try:
            return in_parts(self._run, images, size)
        except self._too_large:
            size = min(size, len(images))
            if size == 1:
                raise
            self._largest = min(self._largest or size, size // 2)  # another thread may have come further down
            logging.getLogger(__name__).warning(
                "%d images did not fit into memory at once: %d from now on", size, self._largest
            )
            return self(images)


def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
