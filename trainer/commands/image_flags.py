"""Flags about the images that a network sees: how photos are resized, and how they are varied."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.images.spec import RESIZE_RULES, ImageSpec
from trainer.fitting.augmentation import DEFAULT, Augmentation

COPIES = 6
_ANY_SIZE = 224


def add_arguments(add: Any) -> None:
    """Adds those about resizing; `add` is a parser's or a group's ``add_argument``."""
    add(
        "--image-size",
        type=flags.positive_int,
        metavar="PIXELS",
        help="side of the images the network sees (default: that of the network, 224 for keras.applications; that of "
        "the pictures in an IDX file for ours)",
    )
    add(
        "--resize",
        choices=RESIZE_RULES,
        default=RESIZE_RULES[0],
        help="how a photo becomes that square: its middle cropped, white padded beside it, or stretched",
    )
    add(
        "--views",
        type=_views,
        metavar="RULE,RULE",
        help="several such squares, as in crop,pad: the network sees each, and their features are averaged; training "
        "and classifying take as many times longer",
    )


def add_augmentation_arguments(add: Any) -> None:
    """Adds those about varied copies."""
    add(
        "--augment",
        action="store_true",
        help="vary photos in a way that suits most products; the flags below refine it",
    )
    add("--flip", action=argparse.BooleanOptionalAction, help=f"mirror half of them (with --augment: {DEFAULT.flip})")
    add("--vertical-flip", action="store_true", default=None, help="mirror half of them upside down")
    add("--quarter-turns", action="store_true", default=None, help="turn them by 0, 90, 180 or 270 degrees")
    for name, unit in (
        ("rotation", "degrees"),
        ("zoom", "share of the size"),
        ("shift", "share of the side"),
        ("shear", "degrees"),
        ("color", "share of brightness, contrast and saturation"),
    ):
        default = getattr(DEFAULT, name)
        help_text = f"{unit}, at most (with --augment: {default:g})"
        add(f"--{name}", type=flags.non_negative_float, metavar="X", help=help_text)
    add(
        "--copies",
        type=flags.positive_int,
        default=COPIES,
        metavar="N",
        help="varied copies of each photo that go through the frozen part of a network",
    )


def _views(text: str) -> str:
    """For argparse: resize rules, with commas between them. Raises ArgumentTypeError."""
    try:
        return ImageSpec(_ANY_SIZE, text).resize
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def image_spec(size: int, resize: str, views: str | None) -> ImageSpec:
    """The images that the values of the flags stand for. Raises UserError."""
    if views and resize != RESIZE_RULES[0]:
        raise UserError("--views says how photos are resized: leave --resize out")
    try:
        return ImageSpec(size, views or resize)
    except ValueError as error:
        raise UserError(f"--image-size: {error}") from error


def augmentation(arguments: argparse.Namespace) -> Augmentation:
    """The augmentation that flags ask for."""
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Augmentation)}
    chosen = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(DEFAULT if arguments.augment else Augmentation(), **chosen)
