"""Number formats of training: the Keras dtype policy, and bfloat16 in the frozen layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalogue.model_dir import bfloat16

if TYPE_CHECKING:
    from trainer.fitting.distribution import Devices

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def dtype_policy(precision: str, gpus: int) -> str:
    """The Keras dtype policy that a ``--precision`` means; ``auto`` is half precision on GPUs.

    On CPUs ``mixed_bfloat16`` is for those with instructions for it (AMX); measure it.
    """
    if precision == "auto":
        return "mixed_float16" if gpus else "float32"
    return precision


def frozen_in_bfloat16(precision: str, devices: Devices) -> bool:
    """Whether the part of a network that is not fitted computes in bfloat16: with ``auto``, on one CPU that can.

    What is fitted computes as `dtype_policy` says. On processors without such instructions bfloat16 would be slower.
    """
    return precision == "auto" and not devices.gpus and devices.replicas == 1 and bfloat16.is_native()
