"""Devices for training: one device, several on one machine, or several machines.

Keras 3's `fit` cannot train across machines, so `trainer.fitting.loop` runs its own training step with
`tf.distribute`. Each batch has the same rows for any number of devices and is split among them. So the result is the
same up to rounding, apart from dropout, whose masks each replica draws itself, and trained batch norm, whose statistics
each replica computes from its part of the batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from catalogue.cli.errors import Fault, UserError
from catalogue.cli.logs import say


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices that a network is fitted on.

    Attributes:
        strategy: distribution strategy of TensorFlow.
        worker, workers: index of this process among the workers, counted from 0, and the number of workers.
        gpus: number of GPUs of this process.
    """

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1
    gpus: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results of all workers."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """Number of replicas on all workers together."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_replicas(self) -> int:
        """Number of replicas of this process."""
        return self.replicas // self.workers

    def parts(self, count: int, *, local: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Divide `count` items evenly among the replicas.

        Args:
            count: number of items, at least one.
            local: whether to use only the replicas of this process, for work that each worker does alone.

        Returns:
            For each replica of this process the indices of its items, int [R, M], and a mask, bool [R, M], which is
            false for padding. Padding repeats the first item.
        """
        replicas = self.local_replicas if local else self.replicas
        each = math.ceil(count / replicas)
        numbers = np.arange(each * replicas).reshape(replicas, each)
        counts = numbers < count
        mine = (
            slice(None) if local else slice(self.worker * self.local_replicas, (self.worker + 1) * self.local_replicas)
        )
        return np.where(counts, numbers, 0)[mine], counts[mine]

    def per_replica(self, parts: Sequence[Any]) -> Any:
        """Build an argument of `strategy.run` from one nested structure of arrays per replica of this process."""
        if self.replicas == 1:
            return parts[0]
        first = self.worker * self.local_replicas

        def of_replica(context: Any) -> Any:
            part = parts[context.replica_id_in_sync_group - first]
            return tf.nest.map_structure(tf.convert_to_tensor, part)

        return self.strategy.experimental_distribute_values_from_function(of_replica)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in each replica."""
        return self.strategy.run(function, arguments)

    def gathered(self, value: Any, count: int) -> np.ndarray:
        """Gather the results for `count` items from the replicas of all workers, in the order of `parts`."""
        return (value if self.replicas == 1 else self.strategy.gather(value, axis=0)).numpy()[:count]

    def local(self, value: Any, count: int) -> np.ndarray:
        """Concatenate the results for `count` items from the replicas of this process."""
        return np.concatenate([part.numpy() for part in self.strategy.experimental_local_results(value)])[:count]

    def from_chief(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Broadcast the arrays of the chief; the other workers pass arrays of the same shapes and types."""
        if self.workers == 1:
            return list(arrays)
        shared = []
        for array in arrays:
            exact = array if array.dtype.kind == "f" else array.astype(np.int64)
            parts = [
                exact if self.is_chief and not replica else np.zeros_like(exact)
                for replica in range(self.local_replicas)
            ]
            total = self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.per_replica(parts), axis=None)
            shared.append(total.numpy().astype(array.dtype).reshape(array.shape))
        return shared

    def json_from_chief(self, content: Any) -> Any:
        """Broadcast the JSON-serializable content that the chief passes."""
        text = np.frombuffer(json.dumps(content).encode(), np.uint8).astype(np.int64)
        (length,) = self.from_chief([np.array([len(text)])])
        mine = text if self.is_chief else np.zeros(length[0], np.int64)
        return json.loads(bytes(self.from_chief([mine])[0].astype(np.uint8)))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Report a lost worker if collective operations within this context fail.

        Raises:
            Fault: a collective operation failed, since another worker was lost.
        """
        lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
        try:
            yield
        except (*lost, tf.errors.InternalError, tf.errors.CancelledError) as error:
            if self.workers == 1:
                raise
            raise Fault(
                f"another worker was lost ({type(error).__name__}): restart all workers with --resume"
            ) from error

    def check_same(self, what: str, content: Any) -> None:
        """Check that all workers hold the same JSON-serializable `content`.

        Raises:
            Fault: the content differs.
        """
        digest = hashlib.sha256(json.dumps(content).encode()).digest()
        mine = np.frombuffer(digest, np.uint8).astype(np.int64)
        if not np.array_equal(self.from_chief([mine])[0], mine):
            raise Fault(f"worker {self.worker} found different {what} than worker 0: give all workers the same data")


def find() -> Devices:
    """Find the devices of this machine, and of the other machines in ``TF_CONFIG``.

    Must be called before any other use of TensorFlow.

    Raises:
        UserError: ``TF_CONFIG`` is invalid.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    cluster = _cluster()
    if cluster:
        worker, workers = cluster
        say(f"worker {worker} of {workers}: waiting for the others")
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers, len(gpus))
    if len(gpus) > 1:
        return Devices(tf.distribute.MirroredStrategy(), gpus=len(gpus))
    return Devices(tf.distribute.get_strategy(), gpus=len(gpus))


def _cluster() -> tuple[int, int] | None:
    """Return this worker's index and the number of workers from ``TF_CONFIG``; None if there are fewer than two."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster") or {}, config.get("task") or {}
        chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
        count = len(chiefs) + len(workers)
        if count < 2:
            return None
        number = {"chief": 0, "worker": len(chiefs)}[task["type"]] + int(task["index"])
        if number >= count:
            raise ValueError(f"{task['type']} {task['index']} is not in the cluster")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"TF_CONFIG is invalid ({error!r}): list all workers, and the task of this worker") from error
    return number, count
