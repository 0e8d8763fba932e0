"""Division of images into partitions, which are shuffled first, and of each partition into packets, the units of work.

Both depend only on the locations of the images, so an engine that recomputes them gets the same partitions and packets.
"""

from __future__ import annotations

import zlib

PARTITIONS = 1024
PACKET_IMAGES = 64
"""Approximate number of images per packet: small enough for hashing to distribute packets evenly over many workers."""


def partition_of(key: str) -> int:
    """Return the number of an image's partition, from 0.

    Args:
        key: masked location of the image, see `catalogue.cli.masking.masked_key`.
    """
    return zlib.crc32(key.encode()) % PARTITIONS


def packet_of(key: str, images: int) -> int:
    """Return the number of an image's packet, from 0. Packet numbers are unique across partitions.

    Args:
        key: masked location of the image.
        images: number of images in its partition.
    """
    rest, partition = divmod(zlib.crc32(key.encode()), PARTITIONS)
    return partition + PARTITIONS * (rest % -(-images // PACKET_IMAGES))
