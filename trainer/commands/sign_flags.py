"""Command-line flags of ``sign``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``sign``."""
    add = parser.add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="what train wrote")
    add("--key", type=flags.path, required=True, metavar="KEY", help="a private key of an elliptic curve, as PEM")
