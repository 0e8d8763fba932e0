"""What every engine is: a network, ready to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from pipeline.records import EngineChoice

NO_BFLOAT16 = "the processor has no instructions for bfloat16"


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


def in_parts(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int) -> np.ndarray:
    """Runs a network on `size` images at a time. Returns probabilities, float32 [N, K]."""
    parts = [run(images[start : start + size]) for start in range(0, len(images), size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
