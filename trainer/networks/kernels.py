"""The kernels of the convolutions of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np


def kernels(classifier: keras.Model, layers: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Kernels by the names of their layers.

    Args:
        classifier: of a model directory, ``model.keras``.
        layers: names; those that have no kernels are left out. None for the first layer that has some.

    Returns:
        Of each layer float32 [h, w, channels that go in, filters]; of a depthwise convolution, whose filters take one
        channel each, [h, w, 1, filters]. None of them where no layer has kernels.
    """
    network = classifier.layers[1].layers[-1]
    found = {layer.name: kernel for layer in network.layers if (kernel := _kernel(layer)) is not None}
    chosen = list(found)[:1] if layers is None else [name for name in layers if name in found]
    return {name: found[name] for name in chosen}


def _kernel(layer: keras.Layer) -> np.ndarray | None:
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # [h, w, channels, filters of each]
        kernel = layer.get_weights()[0]
        return kernel.reshape(*kernel.shape[:2], 1, -1).astype(np.float32)
    if isinstance(layer, keras.layers.Conv2D):
        return layer.get_weights()[0].astype(np.float32)
    return None
