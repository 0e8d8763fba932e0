"""Training flags: epochs, learning rate, optimizer and regularization."""

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
    """Add the flags that most users need; `add` is the ``add_argument`` method of a parser or group."""
    add(
        "--epochs",
        type=flags.positive_int,
        metavar="N",
        help="maximum number of epochs; the weights of the best epoch are kept (default: "
        f"{HEAD_STAGE.epochs} for the head, {FINE_TUNING_STAGE.epochs} for fine-tuning, {FROM_SCRATCH_STAGE.epochs} "
        "from scratch)",
    )
    add(
        "--batch-size",
        type=flags.positive_int,
        default=32,
        metavar="N",
        help="photos per training step, over all devices",
    )
    add(
        "--learning-rate",
        type=flags.positive_float,
        metavar="R",
        help=f"peak learning rate (default: {HEAD_STAGE.learning_rate}; {FINE_TUNING_STAGE.learning_rate} for "
        f"fine-tuning; {SGD_LEARNING_RATE} with sgd)",
    )
    add(
        "--decay",
        choices=DECAYS,
        help="learning-rate schedule after the warmup (default: constant; cosine for fine-tuning)",
    )
    add(
        "--patience",
        type=flags.non_negative_int,
        default=0,
        metavar="N",
        help="epochs without improvement before stopping early; 0 for never",
    )
    add(
        "--class-weights",
        choices=CLASS_WEIGHTS,
        default="none",
        help="balanced: every class counts equally in the loss",
    )
    add(
        "--seed",
        type=flags.seed,
        default=0,
        metavar="N",
        help="random seed of weights, shuffling, dropout and augmentation",
    )
    add(
        "--refit",
        action="store_true",
        help="train again afterwards, up to the best epoch, on training and validation photos",
    )


def add_advanced_arguments(add: Any) -> None:
    """Add the flags that few users need; `add` is the ``add_argument`` method of a parser or group."""
    add("--optimizer", choices=OPTIMIZERS, help="optimizer (default: adam)")
    add(
        "--momentum",
        type=flags.fraction,
        metavar="R",
        help="momentum of sgd and rmsprop (default: 0.9 for sgd; 0 for rmsprop)",
    )
    add(
        "--warmup-epochs",
        type=flags.non_negative_float,
        metavar="N",
        help="epochs of learning-rate warmup from zero (default: 0; 1 for fine-tuning)",
    )
    add(
        "--weight-decay",
        type=flags.non_negative_float,
        metavar="R",
        help=f"decoupled weight decay (default: {FINE_TUNING_STAGE.weight_decay} for fine-tuning; else "
        f"{ADAMW_DECAY} with adamw, or 0)",
    )
    add("--l1", type=flags.non_negative_float, metavar="R", help="L1 penalty on the weights (default: 0)")
    add("--l2", type=flags.non_negative_float, metavar="R", help="L2 penalty on the weights (default: 0)")
    add(
        "--max-norm",
        type=flags.positive_float,
        metavar="R",
        help="maximum norm of the incoming weights of each unit (default: no limit)",
    )
    add(
        "--label-smoothing",
        type=flags.fraction,
        metavar="R",
        help="share of the target spread over all classes (default: 0; "
        f"{FINE_TUNING_STAGE.label_smoothing} for fine-tuning)",
    )
    add(
        "--ema",
        type=flags.fraction,
        metavar="R",
        help=f"decay of the moving average of the weights (default: 0; {FINE_TUNING_STAGE.ema} for fine-tuning)",
    )
    add(
        "--mixup",
        type=flags.non_negative_float,
        default=0.0,
        metavar="ALPHA",
        help="alpha of mixup, which blends pairs of photos; 0 for none",
    )
    add(
        "--head-epochs",
        type=flags.positive_int,
        default=10,
        metavar="N",
        help="maximum number of epochs for the head alone, before fine-tuning",
    )
    add(
        "--batch-norm",
        choices=("frozen", "fitted"),
        help="batch normalization in fine-tuning (default: frozen; fitted if from scratch)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="number format; auto: mixed_float16 on GPUs, otherwise float32, with frozen layers in bfloat16 if the CPU "
        "supports it natively",
    )


def optimizer_defaults(arguments: argparse.Namespace, stage: Stage) -> dict[str, float]:
    """Return the optimizer's default settings, which the flags override. Raises UserError."""
    if arguments.momentum and arguments.optimizer not in (SGD, RMSPROP):
        raise UserError(f"--momentum needs --optimizer {SGD} or {RMSPROP}: add it, or omit --momentum")
    if arguments.optimizer == SGD:
        return {"learning_rate": SGD_LEARNING_RATE, "momentum": SGD_MOMENTUM}
    return {"weight_decay": stage.weight_decay or ADAMW_DECAY} if arguments.optimizer == ADAMW else {}
