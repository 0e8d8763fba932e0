"""Command-line flags of ``preview``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags
from trainer.commands import data_flags, image_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``preview``."""
    data_flags.add_arguments(parser.add_argument_group("photos").add_argument)
    output = parser.add_argument_group("output")
    output.add_argument("--output", type=flags.path, required=True, metavar="DIR", help="new folder for report.html")
    images = parser.add_argument_group("images")
    image_flags.add_arguments(images.add_argument)
    image_flags.add_color_mode_argument(images.add_argument)
    group = parser.add_argument_group("augmentation")
    image_flags.add_augmentation_arguments(group.add_argument)
    group.add_argument("--seed", type=flags.seed, default=0, metavar="N", help="random seed of the augmentation")
    flags.add_limit_arguments(parser)
