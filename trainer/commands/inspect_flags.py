"""Command-line flags of ``inspect``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``inspect``."""
    add = parser.add_argument
    add(
        "--model-dir",
        type=flags.path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="what train wrote; several with spaces between them, to see them side by side",
    )
    add(
        "--image",
        type=flags.path,
        nargs="+",
        metavar="IMAGE",
        help="photos, to see what the layers make of them; several with spaces between them",
    )
    add("--output", type=flags.path, metavar="DIR", help="write report.html, the network drawn, here")
    add(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="those to look into, with spaces between them, or all (default: the last one of each size of maps)",
    )
    add(
        "--filters",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help="numbers of the filters to show, from 1 (default: the first, the middle and the last)",
    )
    add("--all-filters", action="store_true", help="show all filters")
    add("--kernels", action="store_true", help="draw the kernels of these filters, too, where a layer has some")
    flags.add_limit_arguments(parser)
