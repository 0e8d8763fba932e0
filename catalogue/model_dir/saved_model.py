"""The SavedModel of a model directory, loaded to be run.

Its variables are constants and batch normalisation is folded into the convolutions, see `catalogue.model_dir.graph`, so
that it loads in a third of the time. To train it further there is ``model.keras`` beside it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from catalogue.model_dir import graph
from catalogue.model_dir.directory import ModelDir


class SavedModel:
    """The network of a model directory, loaded: uint8 [N, H, W, 3] to probabilities. Safe to call from several threads.

    Args:
        path: the local model directory.
        config, in_bfloat16: see `catalogue.model_dir.graph.in_session`.
    """

    def __init__(self, path: str | os.PathLike[str], config: Any = None, *, in_bfloat16: bool = False) -> None:
        function = graph.constant(tf.saved_model.load(str(path)).signatures["serving_default"])
        self._run = graph.in_session(function, config, in_bfloat16=in_bfloat16)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K]."""
        return self._run(images)[0]


def load(model: ModelDir) -> SavedModel:
    """Loads the network of a model directory and lets it reproduce its golden images.

    Raises:
        ModelDirError: it does not reproduce them.
    """
    network = SavedModel(model.path)
    model.check_golden(network)
    return network
