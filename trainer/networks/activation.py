"""The output of a layer for one photo."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Activation:
    """What a layer makes of a photo: maps float32 [h, w, C], or numbers float32 [C]."""

    layer: str
    values: np.ndarray
