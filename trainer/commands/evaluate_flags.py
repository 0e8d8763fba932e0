"""Command-line flags of ``evaluate``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags
from trainer.data import labels
from trainer.evaluation.gates import add_gate_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``evaluate``."""
    add = parser.add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="what train wrote")
    add("--data", type=flags.path, required=True, metavar="DATA", help="labelled photos, as train takes them")
    add(
        "--output",
        type=flags.path,
        metavar="DIR",
        help="write evaluation.json, predictions.jsonl and report.html here",
    )
    add(
        "--class-names",
        type=labels.class_names,
        metavar="NAME,NAME...",
        help="what the numbers of an IDX file stand for, as for train",
    )
    add("--compare", type=flags.path, metavar="DIR", help="another model directory, measured on the same photos")
    add_gate_argument(parser)
    flags.add_limit_arguments(parser)
