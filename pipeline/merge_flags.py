"""Command-line flags of ``merge``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``merge``."""
    add = parser.add_argument
    add("runs", type=flags.path, nargs="+", metavar="RUN_DIR", help="finished run directories, or their parent folders")
    add("--output", type=flags.path, required=True, metavar="RUN_DIR", help="the new run directory")
    add("--overwrite", action="store_true", help="replace a finished run in --output")
