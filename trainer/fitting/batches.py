"""The batches of an epoch: which photos, how they are varied and mixed, what they should give, how much they count.

All of it depends on the seed, the epoch and the step only, so that a run which is interrupted goes on with the batch it
had come to, and any number of devices sees the same ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.fitting.distribution import Devices
from trainer.fitting.inputs import Source
from trainer.fitting.stage import Stage
from trainer.fitting.task import Task

_AHEAD = 4


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
    return tf.convert_to_tensor(np.stack(arrays))


def _mixed(inputs: tf.Tensor, partners: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """The mixture of each input with its partner, of the same type."""
    share = tf.reshape(share, [-1, *[1] * (len(inputs.shape) - 1)])
    mixed = share * tf.cast(inputs, tf.float32) + (1 - share) * tf.cast(partners, tf.float32)
    return tf.cast(tf.round(mixed) if inputs.dtype.is_integer else mixed, inputs.dtype)
