"""The steps of a network, one for each time that a layer or an operation is used."""

from __future__ import annotations

from typing import Any

import keras


def in_order(model: keras.Model) -> list[Any]:
    """The nodes of a graph of layers in an order in which each comes after those it takes.

    By node, not by layer: ``layer.output`` of a nested model names a tensor inside it, and operations have none.
    """
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
