"""The nodes of a network, one for each call of a layer or an operation."""

from __future__ import annotations

from typing import Any

import keras


def in_order(model: keras.Model) -> list[Any]:
    """Return the nodes of a layer graph in topological order.

    Nodes are used instead of layers, since ``model.layers`` omits operations, and ``layer.output`` of a nested model is
    a tensor inside that model.
    """
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
