"""Settings of a fitting stage."""

from __future__ import annotations

import dataclasses

DECAYS = ("constant", "cosine")
ADAM, ADAMW, SGD, RMSPROP = OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True)
class Stage:
    """Settings for fitting one part of a network.

    Attributes:
        epochs: maximum number of epochs.
        learning_rate: peak learning rate.
        warmup_epochs: epochs in which the learning rate rises from zero to its peak.
        decay: ``constant``, or ``cosine`` for a learning rate that falls to zero by the end of the last epoch.
        weight_decay: decoupled weight decay, as in AdamW; not applied to biases and normalization scales.
        label_smoothing: share of each target that is spread over all classes (Szegedy et al., CVPR 2016).
        mixup: parameter of the beta distribution for mixing pairs of photos, 0 for no mixup (Zhang et al., ICLR 2018).
        class_weights: ``balanced`` gives every class the same total weight, whatever its number of photos.
        ema: decay per step of the moving average of the weights and the batch normalization statistics. The result uses
            the averages. 0 for no averaging.
        patience: epochs without improvement before early stopping, 0 for no early stopping.
        optimizer: one of `OPTIMIZERS`. Adam with a weight decay is AdamW; AdamW needs a weight decay.
        momentum: momentum of SGD and RMSprop.
        l1, l2: penalties on the absolute and the squared weights; not applied to biases and normalization scales.
        max_norm: maximum norm of the incoming weights of each unit (Srivastava et al., JMLR 2014); 0 for no limit.
    """

    epochs: int
    learning_rate: float
    warmup_epochs: float = 0.0
    decay: str = "constant"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    class_weights: str = "none"
    ema: float = 0.0
    patience: int = 0
    optimizer: str = ADAM
    momentum: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0
