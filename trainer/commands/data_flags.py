"""Flags that select the labeled photos and split them into training, validation and test sets."""

from __future__ import annotations

import argparse
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from trainer.data import labels

VALIDATION_FRACTION = 0.1


def add_arguments(add: Any) -> None:
    """Add the flags; `add` is the ``add_argument`` method of a parser or group."""
    add(
        "--data",
        type=flags.path,
        required=True,
        metavar="DATA",
        help="class folders, a list with the columns uri and label, or an IDX file of images",
    )
    add(
        "--validation-data",
        type=flags.path,
        metavar="DATA",
        help="validation photos, in any form that --data takes (default: hold out part of --data)",
    )
    add(
        "--validation-fraction",
        type=flags.share,
        default=VALIDATION_FRACTION,
        metavar="R",
        help="share of --data to hold out for validation",
    )
    add(
        "--test-data",
        type=flags.path,
        metavar="DATA",
        help="test photos for evaluating the finished model, in any form that --data takes",
    )
    add(
        "--test-fraction", type=flags.share, metavar="R", help="share of --data to hold out for testing (default: none)"
    )
    add(
        "--class-names",
        type=labels.class_names,
        metavar="NAME,NAME...",
        help="class names of an IDX file's numeric labels, from 0, or a file with one name per line",
    )
    add("--drop", type=flags.path, metavar="FILE", help="list of photos to omit (column uri), such as label_issues.csv")


def check(arguments: argparse.Namespace) -> None:
    """Raise UserError if flags contradict each other."""
    a = arguments
    if a.validation_data and a.validation_fraction != VALIDATION_FRACTION:
        raise UserError("--validation-fraction and --validation-data cannot be combined: give only one of them")
    if a.test_data and a.test_fraction:
        raise UserError("--test-fraction and --test-data cannot be combined: give only one of them")
    if a.validation_fraction + (a.test_fraction or 0.0) >= 1:
        raise UserError("--validation-fraction and --test-fraction leave no photos for training: lower one of them")
