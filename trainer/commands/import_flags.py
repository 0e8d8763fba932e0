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
    """Add the flags of ``import``."""
    add = parser.add_argument
    add(
        "--model",
        type=flags.path,
        required=True,
        metavar="FILE",
        help="Keras classifier to import, a local .keras or .h5 file",
    )
    add(
        "--labels",
        type=labels.class_names,
        required=True,
        metavar="NAME,NAME...",
        help="class names in the order of the model's outputs, or a text file with one name per line",
    )
    add(
        "--data",
        type=flags.path,
        required=True,
        metavar="DATA",
        help="labeled photos, as for train, to evaluate the model on; preferably photos that it was not trained on",
    )
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="model directory to write")
    add(
        "--preparation",
        choices=(FIND_OUT, *names.PREPARATIONS),
        default=FIND_OUT,
        help="pixel scaling that the model expects: 0 to 255 (none), 0 to 1 (unit), -1 to 1 (tf), or the scaling of "
        "Caffe or PyTorch (caffe, torch); auto: try each on --data, and use the clearly best one",
    )
    add(
        "--image-size",
        type=flags.positive_int,
        metavar="PIXELS",
        help="side of the square input, for a model that accepts any size",
    )
    add("--resize", choices=RESIZE_RULES, default=RESIZE_RULES[-1], help="how to make a photo square, as for train")
    add_gate_argument(parser)
    flags.add_limit_arguments(parser)
