"""Flags for the input images of a network: resizing, color mode and augmentation."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.images.spec import RESIZE_RULES, ImageSpec
from trainer.fitting.augmentation import DEFAULT, Augmentation
from trainer.networks import names

COPIES = 6
_ANY_SIZE = 224


def add_arguments(add: Any) -> None:
    """Add the resizing flags; `add` is the ``add_argument`` method of a parser or group."""
    add(
        "--image-size",
        type=flags.positive_int,
        metavar="PIXELS",
        help="side of the square input (default: depends on the network and --data, usually 224)",
    )
    add(
        "--resize",
        choices=RESIZE_RULES,
        default=RESIZE_RULES[0],
        help="crop the center, pad with white, or stretch to a square",
    )
    add(
        "--views",
        type=_views,
        metavar="RULE,RULE",
        help="average the features of several resize rules, such as crop,pad; multiplies the time",
    )


def add_color_mode_argument(add: Any) -> None:
    """Add ``--color-mode``; `add` is the ``add_argument`` method of a parser or group."""
    add(
        "--color-mode",
        choices=names.COLOR_MODES,
        default=names.COLOR_MODES[0],
        help="color mode of our own networks",
    )


def add_augmentation_arguments(add: Any) -> None:
    """Add the augmentation flags; `add` is the ``add_argument`` method of a parser or group."""
    add(
        "--augment",
        action="store_true",
        help="vary photos with settings that suit most products; the flags below override them",
    )
    add(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror half of the copies (on with --augment)",
    )
    add("--vertical-flip", action="store_true", default=None, help="flip half of the copies upside down")
    add("--quarter-turns", action="store_true", default=None, help="rotate copies by 0, 90, 180 or 270 degrees")
    for name, unit in (
        ("rotation", "maximum rotation in degrees"),
        ("zoom", "maximum zoom, as a share of the size"),
        ("shift", "maximum shift, as a share of the side"),
        ("shear", "maximum shear in degrees"),
        ("color", "maximum change of brightness, contrast, saturation, as a share"),
    ):
        default = getattr(DEFAULT, name)
        help_text = f"{unit} (with --augment: {default:g})"
        add(f"--{name}", type=flags.non_negative_float, metavar="X", help=help_text)
    add(
        "--copies",
        type=flags.positive_int,
        default=COPIES,
        metavar="N",
        help="augmented copies of each photo to run through the frozen layers",
    )


def _views(text: str) -> str:
    """Parse comma-separated resize rules. Raises ArgumentTypeError."""
    try:
        return ImageSpec(_ANY_SIZE, text).resize
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def image_spec(size: int, resize: str, views: str | None) -> ImageSpec:
    """Return the image format that the flags describe. Raises UserError."""
    if views and resize != RESIZE_RULES[0]:
        raise UserError("--views and --resize cannot be combined: give only one of them")
    try:
        return ImageSpec(size, views or resize)
    except ValueError as error:
        raise UserError(f"--image-size: {error}") from error


def augmentation(arguments: argparse.Namespace) -> Augmentation:
    """Return the augmentation that the flags describe."""
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Augmentation)}
    chosen = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(DEFAULT if arguments.augment else Augmentation(), **chosen)
