"""Names of chunks, which tell whose results are in them: ``chunk-TOKEN-c1.3fe``."""

from __future__ import annotations

import uuid
from collections.abc import Collection

PREFIX = "chunk-"
_MANY, _MOST_NAMED = "many", 33  # a name of a file has at most 255 bytes, a packet 6 digits


def chunk_name(packets: Collection[int]) -> str:
    """A new name for a chunk.

    Args:
        packets: of the images in it, see `pipeline.manifest.partitions`. More than a chunk of full packets can hold are
            not named: only chunks of a small catalogue, which are few, have so many.
    """
    named = ".".join(f"{packet:x}" for packet in sorted(packets))
    return f"{PREFIX}{uuid.uuid4().hex[:16]}-{named if len(packets) <= _MOST_NAMED else _MANY}"


def is_chunk(path: str) -> bool:
    """Whether a path is that of a chunk."""
    return path.rpartition("/")[2].startswith(PREFIX)


def packets_named(path: str) -> frozenset[int] | None:
    """The packets of the images in a chunk; None if its name does not tell."""
    named = path.rpartition("-")[2]
    try:
        return frozenset(int(packet, 16) for packet in named.split(".") if packet)
    except ValueError:  # too many; or somebody gave it another name
        return None
