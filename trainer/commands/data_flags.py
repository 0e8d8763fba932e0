"""Flags about labelled photos: which, and which of them validate and test."""

from __future__ import annotations

from typing import Any

from catalogue.cli import flags
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
        "--refit",
        action="store_true",
        help="once the best epoch is known, fit again up to it with the photos that validated, too",
    )
    add(
        "--drop",
        type=flags.path,
        metavar="FILE",
        help="a list of photos to leave out, with the column uri, such as label_issues.csv of a model directory",
    )
