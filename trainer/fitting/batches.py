"""Training batches of an epoch: their photos, augmentation, mixup, targets and sample weights.

A batch depends only on the seed, the epoch and the step. So resumed runs, and runs on any number of devices, see the
same batches.
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
    """Batches of one fitting stage, divided among the devices.

    Args:
        task, stage: training task, and settings of the stage.
        devices: devices that share each batch.
        at_once: number of full batches to stack for one call.
    """

    def __init__(self, task: Task, stage: Stage, devices: Devices, at_once: int) -> None:
        self._task, self._stage, self._devices, self._at_once = task, stage, devices, at_once
        self._weights = task.class_weights(stage.class_weights)

    def of(self, epoch: int, first_step: int) -> Iterator[tuple[int, Any]]:
        """Yield the remaining batches of an epoch; a thread prepares a few of them in advance.

        Yields:
            The number of steps, and the stacked batches as an argument of `strategy.run`: for each replica of this
            process a dictionary of arrays [steps, ...], see `inputs`.
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
        """Return the batch of a step, divided among the replicas of this process."""
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
        """Return the softmax targets of photos, float [M, K]."""
        right, smoothing = np.eye(self._task.classes)[self._task.truth[rows]], self._stage.label_smoothing
        return right * (1 - smoothing) + smoothing / self._task.classes


def inputs(source: Source, batch: dict[str, Any]) -> tf.Tensor:
    """Return the network inputs of one step, on the device.

    Args:
        source: source from which `Batches` took the photos.
        batch: M photos: ``inputs`` from `Source.training`, and with mixup their ``partners`` in the same form and the
            ``share`` [M] of the photo itself; ``targets`` [M, K]; ``weights`` [M], which sum to one over all replicas
            (on average, with class weights); ``counts`` [M], 1 for photos and 0 for padding.
    """
    own = source.inputs(*batch["inputs"])
    if "partners" not in batch:
        return own
    return _mixed(own, source.inputs(*batch["partners"]), batch["share"])


def _stacked(*arrays: np.ndarray) -> tf.Tensor:
    return tf.convert_to_tensor(np.stack(arrays))


def _mixed(inputs: tf.Tensor, partners: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Mix each input with its partner, keeping the dtype."""
    share = tf.reshape(share, [-1, *[1] * (len(inputs.shape) - 1)])
    mixed = share * tf.cast(inputs, tf.float32) + (1 - share) * tf.cast(partners, tf.float32)
    return tf.cast(tf.round(mixed) if inputs.dtype.is_integer else mixed, inputs.dtype)
