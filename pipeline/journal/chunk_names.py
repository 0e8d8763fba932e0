"""Names of chunks, which tell whose results are in them: ``chunk-UUID-0c1.3fe``."""

from __future__ import annotations

import uuid
from collections.abc import Collection

PREFIX = "chunk-"
_MANY, _MOST_NAMED = "many", 16


def chunk_name(partitions: Collection[int]) -> str:
    """A new name for a chunk.

    Args:
        partitions: of the images in it, see `pipeline.manifest.partitions`. More than 16 are not named: only chunks of
            a small catalogue, which are few, hold so many.
    """
    named = ".".join(f"{partition:03x}" for partition in sorted(partitions))
    return f"{PREFIX}{uuid.uuid4().hex}-{named if len(partitions) <= _MOST_NAMED else _MANY}"


def is_chunk(path: str) -> bool:
    """Whether a path is that of a chunk."""
    return path.rpartition("/")[2].startswith(PREFIX)


def partitions_named(path: str) -> frozenset[int] | None:
    """The partitions of the images in a chunk; None if there are too many for its name."""
    named = path.rpartition("-")[2]
    return None if named == _MANY else frozenset(int(partition, 16) for partition in named.split(".") if partition)
