"""Interface of the inference engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from pipeline.records import EngineChoice

NO_BFLOAT16 = "the CPU has no bfloat16 instructions"


@dataclasses.dataclass(frozen=True)
class Threads:
    """Division of the cores of a worker process.

    Attributes:
        callers: number of threads that run batches concurrently.
        per_batch: number of threads per batch.
    """

    callers: int
    per_batch: int


class Engine(Protocol):
    """A loaded network. Calls are thread-safe.

    Attributes:
        choice: engine, precision and device, and the reason for choosing them.
        labels: labels in the order of the probabilities.
    """

    choice: EngineChoice
    labels: tuple[str, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classify images, uint8 [N, H, W, 3]. Returns probabilities, float32 [N, K]."""


class Unsupported(Exception):
    """Raised for an engine or precision that this machine cannot run or would not benefit from."""


def in_parts(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int) -> np.ndarray:
    """Run a network on `size` images at a time. Returns probabilities, float32 [N, K]."""
    parts = [run(images[start : start + size]) for start in range(0, len(images), size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
