"""Division of images into partitions, which are grouped, and of partitions into packets, which go to workers.

Both depend only on a hash of the location, so recomputation by an engine is deterministic.
"""

from __future__ import annotations

import zlib

PARTITIONS = 1024
PACKET_IMAGES = 64
"""Approximate images per packet: few enough that packets are hashed evenly over many workers."""


def partition_of(key: str) -> int:
    """Return the partition of an image, from 0.

    Args:
        key: masked location of the image, see `catalogue.cli.masking.masked_key`.
    """
    return zlib.crc32(key.encode()) % PARTITIONS


def packet_of(key: str, images: int) -> int:
    """Return the packet of an image, from 0. Packet numbers are unique across partitions.

    Args:
        key: masked location of the image.
        images: number of images in its partition.
    """
    rest, partition = divmod(zlib.crc32(key.encode()), PARTITIONS)
    return partition + PARTITIONS * (rest % -(-images // PACKET_IMAGES))
