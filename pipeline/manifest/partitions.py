"""How images are divided: into partitions in which they are grouped, and these into packets that workers are given.

Both go by a hash of the location, so that an engine which computes something anew gets the same.
"""

from __future__ import annotations

import zlib

PARTITIONS = 1024
PACKET_IMAGES = 64
"""About how many images a packet has: so few that the hashes of packets spread them evenly over many workers."""


def partition_of(key: str) -> int:
    """The partition of an image, from 0.

    Args:
        key: its location, masked; see `catalogue.cli.masking.masked_key`.
    """
    return zlib.crc32(key.encode()) % PARTITIONS


def packet_of(key: str, images: int) -> int:
    """The packet of an image, from 0. No two partitions have the same packet.

    Args:
        key: its location, masked.
        images: how many there are in its partition.
    """
    rest, partition = divmod(zlib.crc32(key.encode()), PARTITIONS)
    return partition + PARTITIONS * (rest % -(-images // PACKET_IMAGES))
