"""File names of chunks. A name lists the packets of the images in the chunk: ``chunk-TOKEN-c1.3fe``."""

from __future__ import annotations

import uuid
from collections.abc import Collection

PREFIX = "chunk-"
_MANY, _MOST_NAMED = "many", 33  # a file name has at most 255 bytes, a packet 6 hex digits


def chunk_name(packets: Collection[int]) -> str:
    """Return a new name for a chunk.

    Args:
        packets: packets of the images in the chunk, see `pipeline.manifest.partitions`. They are not named if there are
            too many for a file name, which happens only in a small catalogue, whose chunks are few.
    """
    named = ".".join(f"{packet:x}" for packet in sorted(packets))
    return f"{PREFIX}{uuid.uuid4().hex[:16]}-{named if len(packets) <= _MOST_NAMED else _MANY}"


def is_chunk(path: str) -> bool:
    """Return whether a path has the file name of a chunk."""
    return path.rpartition("/")[2].startswith(PREFIX)


def packets_named(path: str) -> frozenset[int] | None:
    """Return the packets of the images in a chunk; None if its name does not list them."""
    named = path.rpartition("-")[2]
    try:
        return frozenset(int(packet, 16) for packet in named.split(".") if packet)
    except ValueError:  # too many packets, or a renamed file
        return None
