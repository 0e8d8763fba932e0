"""The activation of a layer for one photo."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Activation:
    """Output of a layer for a photo: feature maps float32 [h, w, C], or a vector float32 [C]."""

    layer: str
    values: np.ndarray
