"""Command-line flags of ``inspect``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``inspect``."""
    add = parser.add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="what train wrote")
    add("--image", type=flags.path, metavar="IMAGE", help="a photo, to see what the layers make of it")
    add("--output", type=flags.path, metavar="DIR", help="write report.html, the network drawn, here")
    add(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="those to look into, with spaces between them (default: the last one of each size of maps)",
    )
    add("--all-filters", action="store_true", help="show all filters instead of the first, the middle and the last")
    flags.add_limit_arguments(parser)
