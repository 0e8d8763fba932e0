"""TensorFlow engine: runs the SavedModel, on the GPU if there is one."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import tensorflow as tf

from catalogue.model_dir import ModelDir, bfloat16
from catalogue.model_dir.saved_model import SavedModel
from pipeline.inference.engine import NO_BFLOAT16, Threads, Unsupported, in_parts
from pipeline.records import BFLOAT16, TENSORFLOW, EngineChoice

# Images per call on a CPU. Small batches fit into its cache; large batches need fewer calls. MobileNetV2 at 224 pixels
# takes 1.1 times as long with 4 as with 8.
AT_ONCE = 8


class TensorFlowEngine:
    """TensorFlow implementation of `pipeline.inference.engine.Engine`. The constructor raises Unsupported."""

    def __init__(self, model: ModelDir, precision: str, threads: Threads) -> None:
        if precision == BFLOAT16 and has_gpu():
            raise Unsupported("TensorFlow runs only float32 on a GPU")
        if precision == BFLOAT16 and not bfloat16.is_native():
            raise Unsupported(NO_BFLOAT16)
        gpus = tf.config.list_physical_devices("GPU")
        with contextlib.suppress(RuntimeError):  # TensorFlow has already initialized the GPUs
            for gpu in gpus:  # loading, before the session exists, would reserve all GPU memory
                tf.config.experimental.set_memory_growth(gpu, True)
        if gpus:  # TensorFloat-32 convolutions have only 10 mantissa bits
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
        """Classify images, uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K].

        After running out of memory with a batch, all batches are run in smaller parts.
        """
        size = self._largest or len(images)
        try:
            return in_parts(self._run, images, size)
        except self._too_large:
            size = min(size, len(images))
            if size == 1:
                raise
            self._largest = min(self._largest or size, size // 2)  # another thread may have reduced it further
            logging.getLogger(__name__).warning(
                "out of memory with %d images at a time: using %d from now on", size, self._largest
            )
            return self(images)


def has_gpu() -> bool:
    """Return whether TensorFlow can use a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
