"""Number formats of training: the Keras dtype policy, and bfloat16 in the frozen layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalogue.model_dir import bfloat16

if TYPE_CHECKING:
    from trainer.fitting.distribution import Devices

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def dtype_policy(precision: str, gpus: int) -> str:
    """Return the Keras dtype policy for a ``--precision``; ``auto`` is mixed_float16 on GPUs and float32 on CPUs.

    On CPUs ``mixed_bfloat16`` is fast only with native bfloat16 instructions: measure it.
    """
    if precision == "auto":
        return "mixed_float16" if gpus else "float32"
    return precision


def frozen_in_bfloat16(precision: str, devices: Devices) -> bool:
    """Return whether the frozen layers compute in bfloat16: with ``auto``, on a single CPU with native bfloat16.

    The fitted layers follow `dtype_policy`. On CPUs without native bfloat16 instructions bfloat16 would be slower.
    """
    return precision == "auto" and not devices.gpus and devices.replicas == 1 and bfloat16.is_native()
