"""Command-line flags of ``import``."""

from __future__ import annotations

import argparse

from catalogue.cli import flags
from catalogue.images.spec import RESIZE_RULES
from trainer.data import labels
from trainer.evaluation.gates import add_gate_argument
from trainer.networks import names

FIND_OUT = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``import``."""
    add = parser.add_argument
    add(
        "--model",
        type=flags.path,
        required=True,
        metavar="FILE",
        help="a classifier that Keras has saved, .keras or .h5, on a local disk",
    )
    add(
        "--labels",
        type=labels.class_names,
        required=True,
        metavar="NAME,NAME...",
        help="its classes in the order of its outputs; or a text file with a name in each line",
    )
    add(
        "--data",
        type=flags.path,
        required=True,
        metavar="DATA",
        help="labelled photos, as train takes them, that the model is measured on; best those it was not trained on",
    )
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="where the model directory goes")
    add(
        "--preparation",
        choices=(FIND_OUT, *names.PREPARATIONS),
        default=FIND_OUT,
        help="what it wants done to pixels from 0 to 255: nothing (none), 0 to 1 (unit), -1 to 1 (tf), or as caffe and "
        "torch did; auto: each is tried, and one that is clearly the best is taken",
    )
    add("--image-size", type=flags.positive_int, metavar="PIXELS", help="for a model that takes images of any size")
    add("--resize", choices=RESIZE_RULES, default=RESIZE_RULES[-1], help="how a photo becomes a square, as for train")
    add_gate_argument(parser)
    flags.add_limit_arguments(parser)
