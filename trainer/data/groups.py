"""Groups of items that are linked directly or through others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def components(count: int, links: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the number of each item's connected component, from 0. Int [N].

    Args:
        count: number of items, N.
        links: pairs of linked items.
    """
    parent = list(range(count))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for one, other in links:
        parent[root(one)] = root(other)
    return np.unique([root(one) for one in range(count)], return_inverse=True)[1]
