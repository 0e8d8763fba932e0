"""Optimizers and learning-rate schedules, weight penalties, and norm constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.fitting.stage import ADAM, ADAMW, RMSPROP, SGD, Stage


def optimizer(model: keras.Model, stage: Stage, steps: int) -> keras.optimizers.Optimizer:
    """Build the optimizer of a stage for a model.

    Args:
        model: model whose trainable variables are updated.
        stage: settings of the stage.
        steps: number of steps in an epoch.
    """
    warmup = round(stage.warmup_epochs * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else stage.learning_rate,
        max(1, stage.epochs * steps - warmup),
        alpha=1.0 if stage.decay == "constant" else 0.0,
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    decay = {"weight_decay": stage.weight_decay or None}
    makers = {
        ADAM: lambda: keras.optimizers.Adam(rate, **decay),
        ADAMW: lambda: keras.optimizers.AdamW(rate, **decay),
        SGD: lambda: keras.optimizers.SGD(rate, momentum=stage.momentum, **decay),
        RMSPROP: lambda: keras.optimizers.RMSprop(rate, momentum=stage.momentum, **decay),
    }
    made = makers[stage.optimizer]()
    small = [variable for variable in model.trainable_variables if len(variable.shape) < 2]
    if small and stage.weight_decay:
        made.exclude_from_weight_decay(var_list=small)
    if any(layer.compute_dtype == "float16" for layer in model._flatten_layers(include_self=False)):
        made = keras.optimizers.LossScaleOptimizer(made)
    made.build(model.trainable_variables)
    return made


def penalty(stage: Stage, variables: Sequence[keras.Variable]) -> Any:
    """Return the sum of the L1 and L2 penalties, to be added to the loss of a step."""
    total = tf.constant(0.0)
    for variable in _weights(variables):
        value = tf.cast(variable.value, tf.float32)
        if stage.l1:
            total += stage.l1 * tf.reduce_sum(tf.abs(value))
        if stage.l2:
            total += stage.l2 * tf.reduce_sum(tf.square(value))
    return total


def limit(stage: Stage, variables: Sequence[keras.Variable]) -> None:
    """Scale down the incoming weights of units whose norm exceeds the maximum, after a step."""
    if not stage.max_norm:
        return
    for variable in _weights(variables):
        inputs = list(range(len(variable.shape) - 1))
        variable.assign(keras.constraints.MaxNorm(stage.max_norm, axis=inputs)(variable.value))


def _weights(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    return [variable for variable in variables if len(variable.shape) >= 2]
