"""Custom training loop for the part of a classifier above the cut, on any number of devices.

The batches, their augmentation and mixup, and the learning-rate schedule depend only on the seed, the epoch and the
step. So a resumed run reaches the same result as an uninterrupted run. Results on several devices differ in dropout
masks, batch norm statistics and the order of floating-point sums, see `trainer.fitting.distribution`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from catalogue.cli.errors import CommandFailed
from catalogue.cli.progress import Progress
from trainer.evaluation.metrics import log_loss
from trainer.fitting import batches, optimizers
from trainer.fitting.batches import Batches
from trainer.fitting.checkpoints import Checkpoints
from trainer.fitting.distribution import Devices
from trainer.fitting.improvements import Improved
from trainer.fitting.stage import Stage
from trainer.fitting.task import Task

_IN_FLIGHT = 4  # calls whose results are not fetched yet, so that the device stays busy
_MOST_STEPS, _STEP_BYTES = 16, 8 * 2**20  # limits per call; the overhead of a call is about that of a small step


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Result of a fitting stage.

    Attributes:
        logits, test_logits: float32 [V, K] and [T, K], logits of the validation and test photos in the best epoch.
        best_epoch: number of the best epoch, counted from one.
        epochs: loss and accuracy of each epoch, on training and (``val_``) on validation photos.
    """

    logits: np.ndarray
    test_logits: np.ndarray
    best_epoch: int
    epochs: tuple[dict[str, float], ...]


@dataclasses.dataclass
class _State:
    """Progress of a fitting stage, besides the weights."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    hits: float = 0.0
    best_epoch: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def rank(self, epoch: int) -> tuple[float, float]:
        """Return the sort key of an epoch: its validation accuracy, then its negative validation loss."""
        if not epoch:
            return (-1.0, 0.0)
        return self.history[epoch - 1]["val_accuracy"], -self.history[epoch - 1]["val_loss"]


class Fitting:
    """One fitting stage of one model.

    Args:
        name: name of the stage, for progress messages and checkpoints.
        model: inputs [N, ...] -> logits [N, K], built within the scope of `devices.strategy`.
        task, stage: training task, and settings of the stage.
        devices: devices to run on.
        checkpoints: checkpoints to resume from and save to.
        watch: callback after each epoch, with the stage, the epoch number from one, and its losses and accuracies.
        improved: callback after each new best epoch, while the model has that epoch's weights; None for no callback.
    """

    def __init__(
        self,
        name: str,
        model: keras.Model,
        task: Task,
        stage: Stage,
        devices: Devices,
        checkpoints: Checkpoints,
        watch: Callable[[str, int, dict[str, float]], None] = lambda name, epoch, values: None,
        improved: Improved | None = None,
    ) -> None:
        self._name, self._model, self._task, self._stage = name, model, task, stage
        self._devices, self._checkpoints, self._watch, self._improved = devices, checkpoints, watch, improved
        self._state = _State()
        with devices.strategy.scope():
            self._optimizer = optimizers.optimizer(model, stage, task.steps)
            self._averages = {id(variable): _copy(variable) for variable in _numbers(model)} if stage.ema else {}
        self._best = [variable.numpy() for variable in model.variables]
        batch_bytes = task.source.plain(task.training[:1]).nbytes * task.batch_size
        several = devices.replicas == 1  # replicas synchronize in each step, which a loop on the device cannot do
        self._steps_at_once = max(1, min(_MOST_STEPS, _STEP_BYTES // batch_bytes)) if several else 1
        self._batches = Batches(task, stage, devices, self._steps_at_once)
        self._step_function, self._logits_function = self._functions()

    def run(self, last_epoch: int | None = None) -> Fitted:
        """Fit the model, and set its weights to those of the best epoch.

        Args:
            last_epoch: number of the epoch after which to stop, keeping its weights; None to choose the best epoch.

        Raises:
            CommandFailed: the loss or a validation logit is not finite.
        """
        state, stage, steps = self._state, self._stage, self._task.steps
        self._resume()
        done = state.epoch * steps + state.step
        epochs = stage.epochs if last_epoch is None else last_epoch
        with Progress(f"fitting {self._name}", epochs * steps, "steps", done=done) as progress:
            while state.epoch < epochs and (last_epoch or not self._is_stalled()):
                self._train_epoch(progress)
                values = self._measure()
                state.history.append(values)
                state.epoch, state.step, state.loss, state.hits = state.epoch + 1, 0, 0.0, 0.0
                if last_epoch or state.rank(state.epoch) > state.rank(state.best_epoch):
                    state.best_epoch = state.epoch
                    self._best = self._averaged()
                    self._tell_of_improvement(values)
                self._watch(self._name, state.epoch, values)
                progress.milestone(_ended(state.epoch, values))
                if self._checkpoints.due():
                    self._save()
        _assign(self._model.variables, self._best)
        self._save()
        logits, test_logits = self._logits(self._task.validation), self._logits(self._task.test)
        return Fitted(logits, test_logits, state.best_epoch, tuple(state.history))

    def _tell_of_improvement(self, values: dict[str, float]) -> None:
        if self._improved is None:
            return
        raw = [variable.numpy() for variable in self._model.variables]
        _assign(self._model.variables, self._best)
        self._improved(self._name, self._state.epoch, values)
        _assign(self._model.variables, raw)

    def _is_stalled(self) -> bool:
        state, patience = self._state, self._stage.patience
        return bool(patience) and state.epoch - state.best_epoch >= patience

    def _train_epoch(self, progress: Progress) -> None:
        state = self._state
        sums: deque[tuple[int, Any]] = deque()
        for steps, stacked in self._batches.of(state.epoch, state.step):
            sums.append((steps, self._step_function(stacked)))
            state.step += steps
            if self._checkpoints.due():
                self._collect(sums)
                self._save()
            self._collect(sums, but=_IN_FLIGHT)
            progress.advance(steps, self._note(state.step - sum(steps for steps, _ in sums)))
        self._collect(sums)

    def _collect(self, sums: deque[tuple[int, Any]], but: int = 0) -> None:
        """Add the results of steps to the state, except for the last `but` calls, which may still be running."""
        while len(sums) > but:
            _, (loss, hits) = sums.popleft()
            self._state.loss += float(loss)
            self._state.hits += float(hits)

    def _note(self, steps: int) -> str:
        """Describe the first `steps` steps of the current epoch, and the last validation accuracy."""
        state, photos = self._state, min(steps * self._task.batch_size, len(self._task.training))
        parts = [f"epoch {state.epoch + 1}"]
        if state.history:
            parts.append(f"validation {state.history[-1]['val_accuracy']:.3f}")
        if photos:
            parts += [f"training {state.hits / photos:.3f}", f"loss {state.loss / photos:.3f}"]
        return "  ".join(parts)

    def _measure(self) -> dict[str, float]:
        """Return the losses and accuracies at the end of an epoch."""
        state, task = self._state, self._task
        trained, raw = len(task.training), [variable.numpy() for variable in self._model.variables]
        _assign(self._model.variables, self._averaged())
        logits, truth = self._logits(task.validation), task.truth[task.validation]
        _assign(self._model.variables, raw)
        if not (math.isfinite(state.loss) and np.isfinite(logits).all()):
            raise CommandFailed("training diverged (the loss is not finite): lower --learning-rate")
        return {
            "loss": state.loss / trained,
            "accuracy": state.hits / trained,
            "val_loss": log_loss(logits, truth),
            "val_accuracy": float((logits.argmax(axis=1) == truth).mean()),
        }

    def _averaged(self) -> list[np.ndarray]:
        """Return the weights to keep: moving averages where they exist, otherwise the current weights."""
        return [self._averages.get(id(variable), variable).numpy() for variable in self._model.variables]

    # Device code

    def _functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        model, optimizer, source, stage = self._model, self._optimizer, self._task.source, self._stage
        variables = model.trainable_variables
        strategy = self._devices.strategy

        def in_replica(batch: dict[str, Any]) -> tuple[Any, Any]:
            inputs = batches.inputs(source, batch)
            with tf.GradientTape() as tape:
                logits = model(inputs, training=True)
                losses = tf.nn.softmax_cross_entropy_with_logits(batch["targets"], logits)
                loss = tf.reduce_sum(losses * batch["weights"])
                if stage.l1 or stage.l2:
                    loss += optimizers.penalty(stage, variables) / strategy.num_replicas_in_sync
                scaled = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(scaled, variables), variables)
            optimizers.limit(stage, variables)
            right = tf.equal(tf.argmax(logits, 1), tf.argmax(batch["targets"], 1))
            hits = tf.reduce_sum(tf.cast(right, tf.float32) * batch["counts"])
            return tf.reduce_sum(losses * batch["counts"]), hits

        def step(stacked: dict[str, Any], number: Any) -> tuple[Any, Any]:
            def one(stacks: dict[str, Any]) -> tuple[Any, Any]:
                return in_replica(tf.nest.map_structure(lambda stack: stack[number], stacks))

            sums = strategy.run(one, (stacked,))
            if stage.ema:
                # A smaller decay in the first steps limits the influence of the initial weights.
                count = tf.cast(optimizer.iterations.value, tf.float32)
                decay = tf.minimum(stage.ema, (1 + count) / (10 + count))
                for variable in _numbers(model):
                    average = self._averages[id(variable)]
                    average.assign(decay * average + (1 - decay) * variable.value)
            return tuple(strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in sums)

        def add_step(stacked: dict[str, Any], number: Any, losses: Any, hits: Any) -> tuple[Any, ...]:
            loss, right = step(stacked, number)
            return number + 1, losses + loss, hits + right

        @tf.function(reduce_retracing=True, autograph=False)
        def any_steps(stacked: dict[str, Any]) -> tuple[Any, Any]:
            if self._steps_at_once == 1:
                return step(stacked, 0)
            count, add = tf.shape(stacked["weights"])[0], functools.partial(add_step, stacked)
            sums = tf.while_loop(lambda number, *_: number < count, add, (0, 0.0, 0.0), parallel_iterations=1)
            return sums[1:]

        def steps(stacked: dict[str, Any]) -> tuple[Any, Any]:
            if self._devices.replicas == 1 and not traced:
                traced.append(any_steps.get_concrete_function(tf.nest.map_structure(_any_count, stacked)))
            return traced[0](stacked) if traced else any_steps(stacked)

        traced: list[Any] = []  # one graph for all calls, since graphs traced for other shapes round differently

        @tf.function(reduce_retracing=True, autograph=False)
        def logits_of(inputs: Any) -> Any:
            return strategy.run(lambda x: model(source.inputs(x), training=False), (inputs,))

        return steps, logits_of

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        """Return the logits of rows, float32 [M, K]."""
        size, found = max(self._task.batch_size, 64), []
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            numbers, _ = self._devices.parts(len(batch))
            inputs = self._devices.per_replica([self._task.source.plain(batch[part]) for part in numbers])
            found.append(self._devices.gathered(self._logits_function(inputs), len(batch)))
        return np.concatenate(found or [np.zeros((0, self._task.classes))]).astype(np.float32)

    # Checkpoints

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables, *self._averages.values()]

    def _save(self) -> None:
        if self._devices.is_chief:
            arrays = [variable.numpy() for variable in self._variables()]
            self._checkpoints.save(self._name, [*arrays, *self._best], dataclasses.asdict(self._state))

    def _resume(self) -> None:
        """Resume from the chief's checkpoint, if there is one."""
        variables = self._variables()
        arrays = [variable.numpy() for variable in variables] + self._best
        found = self._checkpoints.load(self._name) if self._devices.is_chief else None
        state = dataclasses.asdict(self._state)
        if found:
            arrays, state = found
        state = self._devices.json_from_chief(state)
        arrays = self._devices.from_chief(arrays)
        _assign(variables, arrays[: len(variables)])
        self._best = arrays[len(variables) :]
        for name, value in state.items():
            setattr(self._state, name, value)


def _numbers(model: keras.Model) -> list[keras.Variable]:
    """Return the weights and batch normalization statistics, without the states of random generators."""
    return [variable for variable in model.variables if variable.dtype.startswith("float")]


def _any_count(stack: tf.Tensor) -> tf.TensorSpec:
    """Return the signature of a stack of batches, for any number of steps and photos."""
    return tf.TensorSpec([None, None, *stack.shape[2:]], stack.dtype)


def _copy(variable: keras.Variable) -> tf.Variable:
    return tf.Variable(variable.numpy(), trainable=False)


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _ended(epoch: int, values: dict[str, float]) -> str:
    return (
        f"epoch {epoch}  validation {values['val_accuracy']:.3f}  training {values['accuracy']:.3f}  "
        f"loss {values['loss']:.3f}"
    )
