"""The report of ``inspect``: a drawing of the network, and pictures of activations and kernels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from catalogue import model_dir
from catalogue.html import page
from trainer.networks.activation import Activation

SIDE = 120
FEW, CHANNELS = 3, 3
_ARCS = 64  # pixels, the width of the column of skip connections


def drawing(info: model_dir.ModelInfo) -> str:
    """Draw a network as a list of layers, with a bar for the parameters of each and an arc for each skip connection.

    The arcs are one SVG beside the list. The list is HTML, which cuts long names off at the width of the page.
    """
    position = {layer["name"]: number for number, layer in enumerate(info.network)}
    largest = max((layer["parameters"] for layer in info.network), default=0) or 1
    arcs, items = [], []
    for number, layer in enumerate(info.network):
        words, count = f"{layer['kind']} · {' × '.join(map(str, layer['output']))}", layer["parameters"]
        items.append(
            page.layer(layer["name"], words, f"{count:,}" * bool(count), count / largest, fitted=layer["fitted"])
        )
        arcs += [_arc(position[source], number) for source in layer["inputs"] if number - position[source] > 1]
    height = page.LAYER_HEIGHT * len(info.network)
    svg = f'<svg role="img" viewBox="0 0 {_ARCS} {height}" width="{_ARCS}" height="{height}">{"".join(arcs)}</svg>'
    legend = "<p>Numbers and bars show parameters; bars of frozen layers are pale. Arcs are skip connections.</p>"
    return f'{legend}<div class="network">{svg if arcs else ""}<ol>{"".join(items)}</ol></div>'


def _arc(source: int, target: int) -> str:
    """Draw a curve from a layer to a later one, as SVG."""
    top, bottom = (page.LAYER_HEIGHT * (number + 0.5) for number in (source, target))
    reach = min(_ARCS - 4, 12 + 6 * (target - source)) * 4 / 3  # a cubic curve goes 3/4 of the way to this point
    curve = f"M {_ARCS} {top} C {_ARCS - reach:.0f} {top}, {_ARCS - reach:.0f} {bottom}, {_ARCS} {bottom}"
    return f'<path class="line" d="{curve}"/>'


def shape_of(activation: Activation) -> str:
    """Return the shape of an activation as text."""
    return " × ".join(map(str, activation.values.shape))


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlay an image, uint8 [H, W, 3], with a heat map [h, w] from 0 (gray) to 1 (red)."""
    size = (image.shape[1], image.shape[0])
    share = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[
        ..., np.newaxis
    ]
    gray = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    mixed = (1 - share) * (0.6 * gray + 60) + share * (0.5 * image + 0.5 * np.array([255, 40, 0]))
    return np.clip(mixed, 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Filters:
    """Selection of the filters of a layer to show.

    Attributes:
        numbers: filter numbers, from 1; None for the first, the middle and the last.
        every: whether to show all filters.
    """

    numbers: Sequence[int] | None = None
    every: bool = False

    def of(self, count: int) -> list[int]:
        """Return the indices of the selected filters of a layer with `count` filters, from 0."""
        if self.numbers is not None:
            return [number - 1 for number in self.numbers if number <= count]
        return list(range(count)) if self.every or count <= FEW else [0, count // 2, count - 1]


def shown(activation: Activation, filters: Filters) -> list[str]:
    """Return an HTML figure for each selected filter, scaled so that its minimum is black and its maximum white.

    The outputs of a layer without feature maps are one figure, with a square for each unit.
    """
    values = activation.values
    if values.ndim != 3:
        words, hint = f"{values.size:,} units, row by row", f"units of {activation.layer}"
        return [_figure(_in_rows(values.ravel()), words, hint)] if filters.of(values.size) else []
    count = values.shape[2]
    figures = []
    for number in filters.of(count):
        words, hint = f"filter {number + 1} of {count}", f"{activation.layer}, filter {number + 1}"
        figures.append(_figure(values[..., number], words, hint))
    return figures


def _in_rows(values: np.ndarray) -> np.ndarray:
    """Arrange an array [n] row by row in a square [side, side], padded with its minimum."""
    side = math.ceil(math.sqrt(values.size))
    return np.append(values, np.full(side * side - values.size, values.min())).reshape(side, side)


def kernel_figures(layer: str, kernel: np.ndarray, filters: Filters) -> list[str]:
    """Return kernels as pictures: in color for three input channels, otherwise the first channels in gray.

    Args:
        layer: name of the layer.
        kernel: float [h, w, channels, filters].
        filters: filters to show.
    """
    channels, count = kernel.shape[2:]
    figures = []
    for number in filters.of(count):
        words, hint = f"filter {number + 1} of {count}", f"kernel of {layer}, filter {number + 1}"
        if channels == 3:
            figures.append(_figure(kernel[..., number], words, hint))
            continue
        for channel in range(min(channels, CHANNELS)):
            which = f"{words}, channel {channel + 1} of {channels}" if channels > 1 else words
            figures.append(_figure(kernel[:, :, channel, number], which, f"{hint}, channel {channel + 1}"))
    return figures


def _figure(values: np.ndarray, words: str, hint: str) -> str:
    """Return an HTML figure of an array [h, w] or [h, w, 3], scaled so that its minimum is 0 and its maximum 255."""
    low, high = float(values.min()), float(values.max())
    scaled = (255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)
    size = SIDE, round(SIDE * values.shape[0] / values.shape[1])  # views are stacked, so maps may be taller than wide
    picture = np.asarray(Image.fromarray(scaled).resize(size, Image.Resampling.NEAREST).convert("RGB"))
    return page.figure(page.jpeg(picture), f"{words}<br>{low:.2f} to {high:.2f}", hint)
