"""Command-line flags of ``preview``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags
from trainer.commands import data_flags, image_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``preview``."""
    data_flags.add_arguments(parser.add_argument)
    parser.add_argument("--output", type=flags.path, required=True, metavar="DIR", help="where report.html goes")
    image_flags.add_arguments(parser.add_argument_group("images").add_argument)
    group = parser.add_argument_group("augmentation")
    image_flags.add_augmentation_arguments(group.add_argument)
    group.add_argument("--seed", type=flags.seed, default=0, metavar="N", help="of the augmentation")
    flags.add_limit_arguments(parser)
