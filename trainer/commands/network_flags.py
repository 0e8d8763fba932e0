"""Flags of the network: backbone, head and frozen layers."""

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
    """Add the flags that most users need; `add` is the ``add_argument`` method of a parser or group."""
    add("--backbone", default="MobileNetV2", metavar="NAME", help="network of keras.applications, or one of our own")
    add(
        "--weights",
        metavar="imagenet|none|FILE",
        help="initial weights; FILE is a model.keras or a Keras weights file (default: imagenet; none for our own "
        "networks)",
    )
    add(
        "--fine-tune",
        metavar="none|top|all|LAYER",
        help="backbone layers to train: the top blocks, all, or those above LAYER (default: none; all with "
        "--weights none)",
    )
    add(
        "--hidden-units",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help="units of dense layers before the last one, such as 64,32 (default: none)",
    )
    add(
        "--dropout",
        type=flags.fraction,
        default=DROPOUT,
        metavar="R",
        help="dropout rate after hidden layers, or without any before the last layer",
    )
    image_flags.add_arguments(add)


def add_advanced_arguments(add: Any) -> None:
    """Add the flags of our own networks; `add` is the ``add_argument`` method of a parser or group."""
    image_flags.add_color_mode_argument(add)
    add(
        "--convolutions",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help=f"filters of each convolution of --backbone {CONVOLUTIONAL} (default: 32,64,128)",
    )
    add("--kernel", type=flags.positive_int, metavar="PIXELS", help="side of the convolution kernels (default: 3)")
    add("--strides", type=flags.positive_int, metavar="PIXELS", help="stride of the convolutions (default: 1)")
    add("--pooling", choices=names.POOLINGS, help="2 x 2 pooling after each convolution (default: max)")


def layers(arguments: argparse.Namespace) -> names.Layers:
    """Return the layer settings of ``convolutional``. Raises UserError if one is given with another backbone."""
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(names.Layers)}
    given = {name: value for name, value in given.items() if value is not None}
    if given and arguments.backbone != CONVOLUTIONAL:
        raise UserError(f"--{next(iter(given))} needs --backbone {CONVOLUTIONAL}: add it, or omit the flag")
    return names.Layers(**given)
