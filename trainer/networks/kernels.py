"""Convolution kernels of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np


def kernels(classifier: keras.Model, layers: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Return the kernels of `Conv2D` and `DepthwiseConv2D` layers, by layer name.

    Args:
        classifier: ``model.keras`` of a model directory.
        layers: layer names; layers without such kernels are skipped. None for the first layer that has kernels.

    Returns:
        float32 [h, w, input channels, filters] of each layer, or [h, w, 1, filters] of a depthwise convolution, whose
        filters have one channel each. Empty if none of the layers has kernels.
    """
    network = classifier.layers[1].layers[-1]
    found = {layer.name: kernel for layer in network.layers if (kernel := _kernel(layer)) is not None}
    chosen = list(found)[:1] if layers is None else [name for name in layers if name in found]
    return {name: found[name] for name in chosen}


def _kernel(layer: keras.Layer) -> np.ndarray | None:
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # [h, w, channels, filters per channel]
        kernel = layer.get_weights()[0]
        return kernel.reshape(*kernel.shape[:2], 1, -1).astype(np.float32)
    if isinstance(layer, keras.layers.Conv2D):
        return layer.get_weights()[0].astype(np.float32)
    return None
