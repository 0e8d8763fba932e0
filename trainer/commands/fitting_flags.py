"""Flags about fitting: epochs, rates, optimizers, penalties."""

from __future__ import annotations

import argparse
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from trainer.fitting.precision import PRECISIONS
from trainer.fitting.stage import ADAMW, CLASS_WEIGHTS, DECAYS, OPTIMIZERS, RMSPROP, SGD, Stage

HEAD_STAGE = Stage(epochs=20, learning_rate=1e-3)
FINE_TUNING_STAGE = Stage(
    epochs=12,
    learning_rate=4e-4,
    warmup_epochs=1.0,
    decay="cosine",
    weight_decay=0.02,
    label_smoothing=0.1,
    ema=0.99,
)
FROM_SCRATCH_STAGE = Stage(epochs=30, learning_rate=1e-3)
SGD_LEARNING_RATE, SGD_MOMENTUM, ADAMW_DECAY = 0.01, 0.9, 0.004


def add_arguments(add: Any) -> None:
    """Adds them; `add` is a parser's or a group's ``add_argument``."""
    add(
        "--epochs",
        type=flags.positive_int,
        metavar="N",
        help=f"at most; the best one is kept (default: {HEAD_STAGE.epochs} for the head, "
        f"{FINE_TUNING_STAGE.epochs} for fine-tuning, {FROM_SCRATCH_STAGE.epochs} from scratch)",
    )
    add("--batch-size", type=flags.positive_int, default=32, metavar="N", help="photos to a step, on all devices")
    add(
        "--learning-rate",
        type=flags.positive_float,
        metavar="R",
        help=f"of the optimizer (default: {HEAD_STAGE.learning_rate}, {FINE_TUNING_STAGE.learning_rate} for "
        f"fine-tuning, {SGD_LEARNING_RATE} with sgd)",
    )
    add("--optimizer", choices=OPTIMIZERS, help="what moves the weights (default: adam)")
    add("--momentum", type=flags.fraction, metavar="R", help="of sgd and rmsprop (default: 0.9 with sgd, else 0)")
    add(
        "--warmup-epochs",
        type=flags.non_negative_float,
        metavar="N",
        help="in which the rate rises from zero (default: 0, 1 for fine-tuning)",
    )
    add(
        "--decay",
        choices=DECAYS,
        help="of the rate until the last epoch (default: constant, cosine for fine-tuning)",
    )
    add(
        "--weight-decay",
        type=flags.non_negative_float,
        metavar="R",
        help=f"as in AdamW (default: 0, {FINE_TUNING_STAGE.weight_decay} for fine-tuning, {ADAMW_DECAY} with adamw)",
    )
    add("--l1", type=flags.non_negative_float, metavar="R", help="penalty on the absolute weights (default: 0)")
    add("--l2", type=flags.non_negative_float, metavar="R", help="penalty on the squared weights (default: 0)")
    add("--max-norm", type=flags.positive_float, metavar="R", help="largest norm of the weights into a unit")
    add(
        "--label-smoothing",
        type=flags.fraction,
        metavar="R",
        help="share of the truth spread over all classes "
        f"(default: 0, {FINE_TUNING_STAGE.label_smoothing} for fine-tuning)",
    )
    add(
        "--ema",
        type=flags.fraction,
        metavar="R",
        help=f"decay of a moving average of the weights (default: 0, {FINE_TUNING_STAGE.ema} for fine-tuning)",
    )
    add("--mixup", type=flags.non_negative_float, default=0.0, metavar="ALPHA", help="mix pairs of photos")
    add("--class-weights", choices=CLASS_WEIGHTS, default="none", help="let every class count the same")
    add(
        "--patience",
        type=flags.non_negative_int,
        default=0,
        metavar="N",
        help="stop after N epochs without improvement; 0 never does",
    )
    add(
        "--head-epochs",
        type=flags.positive_int,
        default=10,
        metavar="N",
        help="in which the head is fitted alone before fine-tuning",
    )
    add(
        "--batch-norm",
        choices=("frozen", "fitted"),
        help="whether fine-tuning changes batch normalisation (default: frozen, fitted from scratch)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the computations; auto: half on a GPU; else full, and bfloat16 in what is frozen if the CPU has it",
    )
    add(
        "--seed",
        type=flags.seed,
        default=0,
        metavar="N",
        help="of the initial weights, the shuffling, the dropout and the augmentation",
    )
    add(
        "--refit",
        action="store_true",
        help="once the best epoch is known, fit again up to it with the photos that validated, too",
    )


def optimizer_defaults(arguments: argparse.Namespace, stage: Stage) -> dict[str, float]:
    """What an optimizer that is asked for needs and the user does not say. Raises UserError."""
    if arguments.momentum and arguments.optimizer not in (SGD, RMSPROP):
        raise UserError(f"--momentum is for --optimizer {SGD} and {RMSPROP}")
    if arguments.optimizer == SGD:
        return {"learning_rate": SGD_LEARNING_RATE, "momentum": SGD_MOMENTUM}
    return {"weight_decay": stage.weight_decay or ADAMW_DECAY} if arguments.optimizer == ADAMW else {}
