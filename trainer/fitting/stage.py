"""The settings of a stage of training."""

from __future__ import annotations

import dataclasses

DECAYS = ("constant", "cosine")
ADAM, ADAMW, SGD, RMSPROP = OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True)
class Stage:
    """How one part of a network is fitted.

    Attributes:
        epochs: how often each photo is seen, at most.
        learning_rate: of the optimizer, at its highest.
        warmup_epochs: in which the rate rises to that from zero.
        decay: ``constant``, or ``cosine`` for a rate that falls to zero in the last epoch.
        weight_decay: decoupled, as in AdamW; not for offsets and the scales of normalisation.
        label_smoothing: share of the truth that is spread over all classes (Szegedy et al., CVPR 2016).
        mixup: the parameter of the beta distribution by which pairs of photos are mixed, 0 for none (Zhang et al., ICLR
            2018).
        class_weights: ``balanced`` lets every class count the same, however many photos it has.
        ema: decay for each step of the moving average of the weights, and of the statistics of batch normalisation,
            that is kept in their place; 0 for none.
        patience: epochs without improvement after which fitting ends, 0 for none.
        optimizer: one of `OPTIMIZERS`. Adam with a weight decay is AdamW; the latter has one by default.
        momentum: of SGD and RMSprop.
        l1, l2: penalties on the absolute and the squared weights, not on offsets and the scales of normalisation.
        max_norm: the largest norm of the weights into each unit (Srivastava et al., JMLR 2014); 0 for any.
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
