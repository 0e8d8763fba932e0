"""Command-line flags of ``evaluate``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags
from trainer.data import labels
from trainer.evaluation.gates import add_gate_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``evaluate``."""
    add = parser.add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="model directory to evaluate")
    add("--data", type=flags.path, required=True, metavar="DATA", help="labeled photos, as for train")
    add(
        "--output",
        type=flags.path,
        metavar="DIR",
        help="new folder for evaluation.json, predictions.jsonl and report.html",
    )
    add(
        "--class-names",
        type=labels.class_names,
        metavar="NAME,NAME...",
        help="class names of an IDX file's numeric labels, as for train",
    )
    add(
        "--compare",
        type=flags.path,
        metavar="DIR",
        help="model directory to compare with, evaluated on the same photos",
    )
    add_gate_argument(parser)
    flags.add_limit_arguments(parser)
