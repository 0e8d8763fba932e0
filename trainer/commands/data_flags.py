"""Flags about labelled photos: which, and which of them validate and test."""

from __future__ import annotations

import argparse
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from trainer.data import labels

VALIDATION_FRACTION = 0.1


def add_arguments(add: Any) -> None:
    """Adds them; `add` is a parser's or a group's ``add_argument``."""
    add(
        "--data",
        type=flags.path,
        required=True,
        metavar="DATA",
        help="folder with one sub-folder of photos for each class; or a list (.csv, .tsv, .jsonl, .parquet) with the "
        "columns uri and label; or an IDX file of pictures",
    )
    add(
        "--validation-data",
        type=flags.path,
        metavar="DATA",
        help="the like, to choose the best epoch by; without it a part of --data is held out",
    )
    add(
        "--validation-fraction",
        type=flags.share,
        default=VALIDATION_FRACTION,
        metavar="R",
        help="how much of --data is held out to choose the best epoch by",
    )
    add(
        "--test-data",
        type=flags.path,
        metavar="DATA",
        help="the like, to measure the finished model on, once: its accuracy is not flattered by any choice",
    )
    add(
        "--test-fraction",
        type=flags.share,
        metavar="R",
        help="how much of --data is held out to test on, where there is no --test-data",
    )
    add(
        "--class-names",
        type=labels.class_names,
        metavar="NAME,NAME...",
        help="what the numbers of an IDX file stand for, from 0; or a text file with a name in each line",
    )
    add(
        "--drop",
        type=flags.path,
        metavar="FILE",
        help="a list of photos to leave out, with the column uri, such as label_issues.csv of a model directory",
    )


def check(arguments: argparse.Namespace) -> None:
    """Refuses flags that contradict each other. Raises UserError."""
    a = arguments
    if a.validation_data and a.validation_fraction != VALIDATION_FRACTION:
        raise UserError("--validation-fraction and --validation-data do not go together: give one of them")
    if a.test_data and a.test_fraction:
        raise UserError("--test-fraction and --test-data do not go together: give one of them")
    if a.validation_fraction + (a.test_fraction or 0.0) >= 1:
        raise UserError("--validation-fraction and --test-fraction leave nothing to train on")
