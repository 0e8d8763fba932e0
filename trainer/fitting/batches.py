"""The batches of an epoch: which photos, how they are varied and mixed, what they should give, how much they count.

All of it depends on the seed, the epoch and the step only, so that a run which is interrupted goes on with the batch it
had come to, and any number of devices sees the same ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.fitting.distribution import Devices
from trainer.fitting.inputs import Source

if TYPE_CHECKING:
    import tensorflow as tf

DECAYS = ("constant", "cosine")
CLASS_WEIGHTS = ("none", "balanced")
_AHEAD = 4


@dataclasses.dataclass(frozen=True)
class Stage:
    """How one part of a network is fitted.

    Attributes:
        epochs: how often each photo is seen, at most.
        learning_rate: of Adam, at its highest.
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


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Attributes:
        source: the inputs of N photos.
        truth: int [N], the index of the right label.
        classes: how many labels there are, K.
        training, validation: int, the rows to use for each.
        batch_size: rows to a step, on all devices together.
        seed: of the shuffling and the mixing.
    """

    source: Source
    truth: np.ndarray
    classes: int
    training: np.ndarray
    validation: np.ndarray
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """How many there are in an epoch."""
        return math.ceil(len(self.training) / self.batch_size)

    def class_weights(self, kind: str) -> np.ndarray:
        """How much a photo of each class counts, float [K]; one on average."""
        if kind == "none":
            return np.ones(self.classes)
        counts = np.bincount(self.truth[self.training], minlength=self.classes)
        return len(self.training) / (self.classes * np.maximum(counts, 1))


class Batches:
    """The batches of one stage, as the devices take them.

    Args:
        task, stage: what is to be learnt, and how.
        devices: which share each batch.
        at_once: of how many steps the batches are stacked, where they are full.
    """

    def __init__(self, task: Task, stage: Stage, devices: Devices, at_once: int) -> None:
        self._task, self._stage, self._devices, self._at_once = task, stage, devices, at_once
        self._weights = task.class_weights(stage.class_weights)

    def of(self, epoch: int, first_step: int) -> Iterator[tuple[int, Any]]:
        """The rest of an epoch, made a little ahead in a thread.

        Yields:
            How many steps, and what `strategy.run` takes for them: for each replica of this process a dictionary of
            arrays [steps, ...], see `inputs`.
        """
        if first_step >= self._task.steps:
            return
        order = np.random.default_rng((self._task.seed, epoch)).permutation(self._task.training)
        full = len(order) // self._task.batch_size
        starts = [*range(first_step, full, self._at_once), *range(max(full, first_step), self._task.steps)]
        ends = [*starts[1:], self._task.steps]
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            waiting: deque[Future[tuple[int, Any]]] = deque()
            for start, end in zip(starts, ends, strict=True):
                waiting.append(pool.submit(self._stacked, order, epoch, range(start, end)))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _stacked(self, order: np.ndarray, epoch: int, steps: range) -> tuple[int, Any]:
        import tensorflow as tf

        batches = [self._batch(order, epoch, step) for step in steps]
        parts = [tf.nest.map_structure(_stacked, *parts) for parts in zip(*batches, strict=True)]
        return len(steps), self._devices.per_replica(parts)

    def _batch(self, order: np.ndarray, epoch: int, step: int) -> list[dict[str, Any]]:
        """The batch of a step, divided among the replicas of this process."""
        task, size = self._task, self._task.batch_size
        rows = order[step * size : (step + 1) * size]
        weights = self._weights[task.truth[rows]]
        targets = self._targets(rows)
        chance = np.random.default_rng((task.seed, epoch, step))
        partners, share = rows, None
        if self._stage.mixup:
            drawn = chance.beta(self._stage.mixup, self._stage.mixup, len(rows))
            share = np.maximum(drawn, 1 - drawn)[:, np.newaxis]
            partners = chance.permutation(rows)
            targets = share * targets + (1 - share) * self._targets(partners)
        parts = []
        for numbers, counts in zip(*self._devices.parts(len(rows)), strict=True):
            part = {
                "inputs": task.source.training(rows[numbers], epoch),
                "targets": targets[numbers].astype(np.float32),
                "weights": (weights[numbers] * counts / len(rows)).astype(np.float32),
                "counts": counts.astype(np.float32),
            }
            if share is not None:
                part |= {"partners": task.source.training(partners[numbers], epoch)}
                part |= {"share": share[numbers, 0].astype(np.float32)}
            parts.append(part)
        return parts

    def _targets(self, rows: np.ndarray) -> np.ndarray:
        """What the softmax should give, float [M, K]."""
        right, smoothing = np.eye(self._task.classes)[self._task.truth[rows]], self._stage.label_smoothing
        return right * (1 - smoothing) + smoothing / self._task.classes


def inputs(source: Source, batch: dict[str, Any]) -> tf.Tensor:
    """What the network sees of one step, on the device.

    Args:
        source: where `Batches` took the photos from.
        batch: M photos: ``inputs`` as `Source.training` gave them, and where they are mixed the same of ``partners``
            and the ``share`` [M] that is the photo's own; ``targets`` [M, K]; ``weights`` [M], which add up to one over
            all replicas, on average where classes weigh differently; ``counts`` [M], 0 for those that only fill in.
    """
    own = source.inputs(*batch["inputs"])
    if "partners" not in batch:
        return own
    return _mixed(own, source.inputs(*batch["partners"]), batch["share"])


def _stacked(*arrays: np.ndarray) -> tf.Tensor:
    import tensorflow as tf

    return tf.convert_to_tensor(np.stack(arrays))


def _mixed(inputs: tf.Tensor, partners: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """The mixture of each input with its partner, of the same type."""
    import tensorflow as tf

    share = tf.reshape(share, [-1, *[1] * (len(inputs.shape) - 1)])
    mixed = share * tf.cast(inputs, tf.float32) + (1 - share) * tf.cast(partners, tf.float32)
    return tf.cast(tf.round(mixed) if inputs.dtype.is_integer else mixed, inputs.dtype)
