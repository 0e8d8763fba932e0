"""Partitions of images: groups of neighbours in a hash of their location, in which they travel to the workers."""

from __future__ import annotations

import zlib

PARTITIONS = 1024


def partition_of(key: str) -> int:
    """The partition of an image, from 0.

    Args:
        key: its location, masked; see `catalogue.cli.masking.masked_key`.
    """
    return zlib.crc32(key.encode()) % PARTITIONS
