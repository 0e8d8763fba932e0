"""Flags about the network: which, with what on top, and what of it is fitted."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from trainer.commands import image_flags
from trainer.networks import names

CONVOLUTIONAL = "convolutional"
DROPOUT = 0.2


def add_arguments(add: Any) -> None:
    """Adds them; `add` is a parser's or a group's ``add_argument``."""
    add("--backbone", default="MobileNetV2", metavar="NAME", help="a network of keras.applications, or one of ours")
    add(
        "--weights",
        metavar="imagenet|none|FILE",
        help="weights to start from: imagenet, none (every layer is fitted), the model.keras of an earlier model "
        "directory, or a file that Keras wrote of the network without its top (default: imagenet, none for ours)",
    )
    add(
        "--fine-tune",
        metavar="none|top|all|LAYER",
        help="what of the backbone is fitted besides the head: none, its top blocks (top), all, or what is above a "
        "layer, by its name (default: none, all with --weights none)",
    )
    add(
        "--hidden-units",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help="dense layers between the backbone and the last layer, such as 64,32",
    )
    add(
        "--dropout",
        type=flags.fraction,
        default=DROPOUT,
        metavar="R",
        help="before the last layer, after hidden ones",
    )
    image_flags.add_arguments(add)
    add(
        "--color-mode",
        choices=names.COLOR_MODES,
        default=names.COLOR_MODES[0],
        help="whether a network of ours sees colours",
    )
    add(
        "--convolutions",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help=f"filters of each convolution of the backbone {CONVOLUTIONAL} (default: 32,64,128)",
    )
    add("--kernel", type=flags.positive_int, metavar="PIXELS", help="side of their filters (default: 3)")
    add("--strides", type=flags.positive_int, metavar="PIXELS", help="by how much their filters move (default: 1)")
    add("--pooling", choices=names.POOLINGS, help="after each of them, over 2 x 2 pixels (default: max)")


def layers(arguments: argparse.Namespace) -> names.Layers:
    """The layers of the network ``convolutional``. Raises UserError where another network is meant."""
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(names.Layers)}
    given = {name: value for name, value in given.items() if value is not None}
    if given and arguments.backbone != CONVOLUTIONAL:
        raise UserError(f"--{next(iter(given))} is for --backbone {CONVOLUTIONAL}")
    return names.Layers(**given)
