"""Groups of what belongs together, directly or by way of others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def components(count: int, links: Iterable[tuple[int, int]]) -> np.ndarray:
    """The connected components of `count` things, numbered from 0. Int [N].

    Args:
        count: N.
        links: pairs of those that belong together.
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
