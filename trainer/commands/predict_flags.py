"""Command-line flags of ``predict``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags

TOP = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``predict``."""
    add = parser.add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="model directory")
    add(
        "images",
        type=flags.path,
        nargs="+",
        metavar="IMAGE",
        help="photos: files, folders, objects of an object store, or https:// URIs",
    )
    add("--top-k", type=flags.positive_int, default=TOP, metavar="K", help="number of labels to show for each photo")
    add("--json", action="store_true", help="print one JSON object for each photo")
    flags.add_limit_arguments(parser)
