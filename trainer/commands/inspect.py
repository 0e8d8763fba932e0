"""The ``inspect`` command: a network drawn, what its layers make of a photo, and what in it decided the label."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from catalogue.cli import console
from catalogue.cli.console import UserError, say
from catalogue.html import page
from catalogue.images.reader import Limits
from catalogue.model_dir import directory as model_dir
from catalogue.storage import files
from trainer.data import dataset
from trainer.networks import backbones

if TYPE_CHECKING:
    import keras

SIDE = 120
FEW = 3
_LAST = "."  # no layer is called so


@dataclasses.dataclass(frozen=True)
class Activation:
    """What a layer makes of a photo: maps float32 [h, w, C], or numbers float32 [C]."""

    layer: str
    values: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``inspect``."""
    add = parser.add_argument
    add("--model-dir", type=console.path, required=True, metavar="DIR", help="what train wrote")
    add("--image", type=console.path, metavar="IMAGE", help="a photo, to see what the layers make of it")
    add("--output", type=console.path, metavar="DIR", help="write report.html, the network drawn, here")
    add(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="those to look into, with spaces between them (default: the last one of each size of maps)",
    )
    add("--all-filters", action="store_true", help="show all filters instead of the first, the middle and the last")
    console.add_limit_arguments(parser)


def inspect(arguments: argparse.Namespace) -> None:
    """Prints the layers of a model and, for a photo, its labels; writes what is to be looked at."""
    output = arguments.output
    if output:
        files.check_new_folder(output, "--output")
    if arguments.image and not output:
        raise UserError("--image needs --output: a page to look at")
    with model_dir.fetched(arguments.model_dir) as model:
        info = model.info
        _print_layers(info)
        if not output:
            return
        sections = [page.section("Network", _drawing(info))]
        if arguments.image:
            sections = [*_of_photo(model, arguments, console.limits(arguments)), *sections]
    files.make_folder(output, "--output")
    subject = f"model {info.id}: {info.training['backbone']}, {info.image.size} pixels"
    text = page.document("Network", subject, sections)
    (Path(output) / "report.html").write_text(text, encoding="utf-8")
    say(f"written to {output}")


def _print_layers(info: model_dir.ModelInfo) -> None:
    rows = [("layer", "kind", "output", "parameters", "fitted")]
    for layer in info.network:
        shape = " × ".join(map(str, layer["output"]))
        rows.append((layer["name"], layer["kind"], shape, f"{layer['parameters']:,}", "yes" if layer["fitted"] else ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, kind, shape, count, fitted in rows:
        cells = [name.ljust(widths[0]), kind.ljust(widths[1]), shape.ljust(widths[2]), count.rjust(widths[3]), fitted]
        print("  ".join(cells).rstrip())
    total = sum(layer["parameters"] for layer in info.network)
    fitted_count = sum(layer["parameters"] for layer in info.network if layer["fitted"])
    print(f"{len(info.network):,} layers, {total:,} parameters, {fitted_count:,} of them fitted")


def _drawing(info: model_dir.ModelInfo) -> str:
    """Layer below layer, with a bar for its parameters and an arc for what goes past the next one."""
    position = {layer["name"]: number for number, layer in enumerate(info.network)}
    row, left, width = 22, 90, 780
    largest = max((layer["parameters"] for layer in info.network), default=0) or 1
    parts = []
    for number, layer in enumerate(info.network):
        y = row * number
        shape = " × ".join(map(str, layer["output"]))
        words = f"{layer['name']} · {layer['kind']} · {shape}"
        fitted = "bar" if layer["fitted"] else "frame"
        bar = 180 * layer["parameters"] / largest
        parts.append(f'<rect class="frame" x="{left}" y="{y + 2}" width="470" height="{row - 6}"/>')
        parts.append(f'<text x="{left + 6}" y="{y + 14}">{page.text(words)}</text>')
        parts.append(f'<rect class="{fitted}" x="{left + 480}" y="{y + 4}" width="{bar:.1f}" height="{row - 10}"/>')
        if layer["parameters"]:
            parts.append(f'<text x="{left + 486 + bar:.0f}" y="{y + 14}">{layer["parameters"]:,}</text>')
        for source in layer["inputs"]:
            start = position[source]
            if number - start > 1:
                reach = min(80, 12 + 6 * (number - start))
                top, bottom = row * start + row / 2, y + row / 2
                curve = f"M {left} {top} C {left - reach} {top}, {left - reach} {bottom}, {left} {bottom}"
                parts.append(f'<path class="line" d="{curve}"/>')
            else:
                parts.append(f'<line class="even" x1="{left + 20}" y1="{y - 4}" x2="{left + 20}" y2="{y + 2}"/>')
    height = row * len(info.network) + 4
    drawing = f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'
    return f'<p>Bars are parameters, filled where they were fitted.</p><div class="scroll">{drawing}</div>'


def _of_photo(model: model_dir.ModelDir, arguments: argparse.Namespace, limits: Limits) -> list[str]:
    """What the network makes of a photo, and why."""
    photo = dataset.read_photo(dataset.Example(arguments.image, ""), model.info.image, limits)
    if isinstance(photo, dataset.Unreadable):
        raise UserError(f"{arguments.image} cannot be read as a photo: {photo.error}")
    import keras

    classifier = keras.models.load_model(model.path / "model.keras", compile=False)
    probabilities = classifier(photo.image[np.newaxis]).numpy()[0]
    best = np.argsort(-probabilities, kind="stable")[:3].tolist()
    labels = model.info.labels
    for index in best:
        print(f"{labels[index]} {probabilities[index]:.4f}")
    figures = [page.figure(page.jpeg(photo.image), "as the network sees it", arguments.image)]
    for index in best:
        heat = heat_map(classifier, photo.image, index)
        bars = page.score_bars([(labels[index], float(probabilities[index]), index == best[0])])
        figures.append(page.figure(page.jpeg(overlaid(photo.image, heat)), bars, f"what speaks for {labels[index]}"))
    sections = [page.section("What decided", page.gallery(figures))]
    for activation in activations(classifier, photo.image, arguments.layers):
        shown = _shown(activation, arguments.all_filters)
        sections.append(page.section(f"{activation.layer}: {_shape(activation)}", page.gallery(shown)))
    return sections


def _shape(activation: Activation) -> str:
    return " × ".join(map(str, activation.values.shape))


def activations(classifier: keras.Model, image: np.ndarray, layers: Sequence[str] | None) -> list[Activation]:
    """What layers make of an image.

    Args:
        classifier: of a model directory, ``model.keras``.
        image: uint8 [H, W, 3].
        layers: names of layers; None for the last one of each size of maps, or all of the head if there are no maps.

    Raises:
        UserError: there is no such layer.
    """
    import keras

    preparation, network = _parts(classifier)
    head = classifier.layers[2]
    outputs = {layer.name: layer.output for layer in network.layers[1:]}
    above = {layer.name: layer.output for layer in head.layers[1:]}
    if layers is None:
        padded = {layer.name for layer in network.layers if isinstance(layer, keras.layers.ZeroPadding2D)}
        maps = {name: tensor for name, tensor in outputs.items() if len(tensor.shape) == 4 and name not in padded}
        sides = {tensor.shape[1]: name for name, tensor in maps.items()}
        layers = list(sides.values()) or list(above)  # of a network without maps what its dense layers give
    unknown = [name for name in layers if name not in {*outputs, *above}]
    if unknown:
        raise UserError(f"--layers: the network has no layer {unknown[0]!r}; inspect without --image lists them")
    inner = keras.Model(network.input, {_LAST: network.output} | {n: outputs[n] for n in layers if n in outputs})
    found = dict(inner(preparation(image[np.newaxis])))
    of_head = keras.Model(head.input, {_LAST: head.output} | {n: above[n] for n in layers if n in above})
    found |= of_head(found[_LAST])
    return [Activation(name, found[name].numpy()[0].astype(np.float32)) for name in layers]


def _parts(classifier: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The layer that prepares pixels, and the network on them."""
    preparation, network = classifier.layers[1].layers[-2:]
    return preparation, network


def heat_map(classifier: keras.Model, image: np.ndarray, label: int) -> np.ndarray:
    """What in an image speaks for a label: Grad-CAM at the last maps of the backbone.

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.

    Args:
        classifier: of a model directory, ``model.keras``.
        image: uint8 [H, W, 3].
        label: the number of the label.

    Returns:
        float32 [h, w], from 0 to 1; all 0 where nothing speaks for it, or where the network has no maps.
    """
    import tensorflow as tf

    backbone, head = classifier.layers[1], classifier.layers[2]
    maps = [name for name, tensor in backbones.cut_tensors(backbone).items() if len(tensor.shape) == 4]
    if not maps:
        return np.zeros((1, 1), np.float32)
    lower, upper = backbones.split(backbone, maps[-1])
    with tf.GradientTape() as tape:
        values = tf.convert_to_tensor(lower(image[np.newaxis]))
        tape.watch(values)
        logit = head(upper(values))[0, label]
    weights = tf.reduce_mean(tape.gradient(logit, values), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * values, axis=-1))[0].numpy()
    return heat / heat.max() if heat.max() > 0 else heat


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3] with a map [h, w] from 0 to 1 in red over it, what is 0 in grey."""
    size = (image.shape[1], image.shape[0])
    share = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[
        ..., np.newaxis
    ]
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    mixed = (1 - share) * (0.6 * grey + 60) + share * (0.5 * image + 0.5 * np.array([255, 40, 0]))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _shown(activation: Activation, all_filters: bool) -> list[str]:
    """Filters as pictures, from their least value in black to their greatest in white."""
    values = activation.values
    if values.ndim != 3:
        values = values.reshape(1, 1, -1)
    count = values.shape[2]
    chosen = range(count) if all_filters or count <= FEW else (0, count // 2, count - 1)
    figures = []
    for number in chosen:
        one = values[..., number]
        low, high = float(one.min()), float(one.max())
        grey = (255 * (one - low) / ((high - low) or 1.0)).astype(np.uint8)
        picture = np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.NEAREST).convert("RGB"))
        words = f"filter {number + 1} of {count}<br>{low:.2f} to {high:.2f}"
        figures.append(page.figure(page.jpeg(picture), words, f"{activation.layer}, filter {number + 1}"))
    return figures
