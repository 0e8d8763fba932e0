"""Command-line flags of ``inspect``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``inspect``."""
    add = parser.add_argument
    add(
        "--model-dir",
        type=flags.path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="one or more model directories to inspect, separated by spaces",
    )
    add(
        "--image",
        type=flags.path,
        nargs="+",
        metavar="IMAGE",
        help="one or more photos to show activations and heat maps for, separated by spaces",
    )
    add("--output", type=flags.path, metavar="DIR", help="new folder for report.html, which shows the network")
    add(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="layers to show, separated by spaces, or all (default: the last layer of each feature map size)",
    )
    add(
        "--filters",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help="numbers of the filters to show, from 1 (default: the first, middle and last)",
    )
    add("--all-filters", action="store_true", help="show all filters")
    add(
        "--kernels",
        action="store_true",
        help="also show the kernels of the selected filters, for layers that have kernels",
    )
    flags.add_limit_arguments(parser)
