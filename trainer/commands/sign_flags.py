"""Command-line flags of ``sign``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``sign``."""
    add = parser.add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="model directory to sign")
    add("--key", type=flags.path, required=True, metavar="KEY", help="elliptic curve private key, as a PEM file")
