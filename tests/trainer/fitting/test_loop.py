from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogue.cli.errors import CommandFailed
from trainer.fitting import distribution, optimizers
from trainer.fitting import loop as fitting
from trainer.fitting.checkpoints import Checkpoints
from trainer.fitting.inputs import Activations
from trainer.fitting.loop import Fitting
from trainer.fitting.stage import CLASS_WEIGHTS, Stage
from trainer.fitting.task import Task

STAGE = Stage(epochs=15, learning_rate=0.05)
NONE = Checkpoints(None)


@pytest.fixture(scope="module")
def devices() -> distribution.Devices:
    return distribution.find()


def head(inputs: int = 3, classes: int = 3, dropout: float = 0.0) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    features = keras.Input((inputs,))
    return keras.Model(features, keras.layers.Dense(classes)(keras.layers.Dropout(dropout)(features)))


def normalizing() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    features = keras.Input((3,))
    return keras.Model(features, keras.layers.Dense(3)(keras.layers.BatchNormalization(momentum=0.9)(features)))


def halved(policy: str = "mixed_float16") -> Any:
    """Build a model with a hidden layer of the given precision policy, and float32 logits."""
    import keras

    keras.utils.set_random_seed(0)
    features = keras.Input((3,))
    hidden = keras.layers.Dense(8, activation="relu", dtype=policy)(features)
    return keras.Model(features, keras.layers.Dense(3, dtype="float32")(hidden))


def separable(count: int = 200, **options: Any) -> Task:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 3, count)
    values = (np.eye(3)[truth] * 2 + chance.normal(0, 0.8, (count, 3))).astype(np.float32)
    rows = np.arange(count)
    task = Task(Activations(values), truth, 3, rows[:-50], rows[-50:], batch_size=16, seed=3)
    return dataclasses.replace(task, **options)


def fit(model: Any, task: Task, stage: Stage, devices: Any, kept: Checkpoints = NONE) -> fitting.Fitted:
    return Fitting("test", model, task, stage, devices, kept).run()


def test_keeps_the_best_epoch_not_the_last(devices: Any) -> None:
    model, task = head(), separable()
    fitted = fit(model, task, Stage(epochs=12, learning_rate=2.0), devices)  # too high: the accuracy jumps
    accuracies = [epoch["val_accuracy"] for epoch in fitted.epochs]
    assert len(accuracies) == 12
    assert accuracies[-1] < max(accuracies)  # otherwise the test proves nothing
    assert accuracies[fitted.best_epoch - 1] == max(accuracies)
    accuracy = (fitted.logits.argmax(1) == task.truth[task.validation]).mean()
    assert accuracy == pytest.approx(max(accuracies), abs=1e-6)
    np.testing.assert_allclose(model(task.source.plain(task.validation)), fitted.logits, atol=1e-4)


OPTIMIZERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Adam": ({}, {}),
    "AdamW": ({"optimizer": "adamw", "weight_decay": 0.01}, {"weight_decay": 0.01}),
    "SGD": ({"optimizer": "sgd", "momentum": 0.9}, {"momentum": 0.9}),
    "RMSprop": ({"optimizer": "rmsprop"}, {}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_learns_and_reports_what_keras_reports(devices: Any, name: str) -> None:
    """Optimizers, cross-entropy and accuracy agree with those of an epoch of Keras's `fit` on the same batches."""
    import keras

    options, theirs_options = OPTIMIZERS[name]
    task = separable()
    ours = fit(head(), task, Stage(epochs=1, learning_rate=0.05, **options), devices)
    model = head()
    optimizer = getattr(keras.optimizers, name)(0.05, **theirs_options)
    optimizer.exclude_from_weight_decay(var_list=[variable for variable in model.variables if len(variable.shape) < 2])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    order = np.random.default_rng((3, 0)).permutation(task.training)
    theirs = model.fit(task.source.plain(order), task.truth[order], batch_size=16, shuffle=False, verbose=0)
    assert ours.epochs[0]["loss"] == pytest.approx(theirs.history["loss"][0], rel=1e-4)
    assert ours.epochs[0]["accuracy"] == pytest.approx(theirs.history["accuracy"][0], rel=1e-4)
    loss, accuracy = model.evaluate(task.source.plain(task.validation), task.truth[task.validation], verbose=0)
    assert ours.epochs[0]["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert ours.epochs[0]["val_accuracy"] == pytest.approx(accuracy, rel=1e-4)


@pytest.mark.parametrize(("name", "strength"), [("l1", 0.01), ("l2", 0.05)])
def test_penalties_are_those_of_keras(devices: Any, name: str, strength: float) -> None:
    """The weights after an epoch equal those of Keras's `fit` with a regularizer; the loss excludes the penalty."""
    import keras

    task, ours, theirs = separable(), head(), head()
    fitted = fit(ours, task, Stage(epochs=1, learning_rate=0.05, **{name: strength}), devices)
    for layer in theirs.layers:
        if hasattr(layer, "kernel_regularizer"):
            layer.kernel_regularizer = getattr(keras.regularizers, name.upper())(strength)
    weights, theirs = theirs.get_weights(), keras.models.clone_model(theirs)
    theirs.set_weights(weights)
    theirs.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    order = np.random.default_rng((3, 0)).permutation(task.training)
    history = theirs.fit(task.source.plain(order), task.truth[order], batch_size=16, shuffle=False, verbose=0).history
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert fitted.epochs[0]["loss"] < history["loss"][0] - 1e-3


def test_the_weights_into_a_unit_have_a_largest_norm(devices: Any) -> None:
    model = head()
    fit(model, separable(), Stage(epochs=3, learning_rate=0.1, max_norm=0.5), devices)
    norms = [np.linalg.norm(weights, axis=0) for weights in model.get_weights() if weights.ndim == 2]
    assert max(norm.max() for norm in norms) == pytest.approx(0.5, abs=1e-3)


def test_half_precision_scales_the_loss(devices: Any) -> None:
    """Gradients too small for float16 still update the weights."""
    moved = []
    for policy in ("float32", "mixed_float16"):
        model = halved(policy)
        hidden, logits = model.layers[1:]
        logits.trainable = False
        logits.set_weights([1e-6 * weights for weights in logits.get_weights()])
        before = hidden.kernel.numpy()
        fit(model, separable(), STAGE, devices)
        moved.append(np.abs(hidden.kernel.numpy() - before).mean())
    assert moved[1] == pytest.approx(moved[0], rel=0.2)


def test_the_same_seed_gives_the_same_weights(devices: Any) -> None:
    stage = dataclasses.replace(STAGE, mixup=0.3, ema=0.9)
    results = [fit(head(dropout=0.5), separable(seed=seed), stage, devices).logits for seed in (1, 1, 2)]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_divergence_is_reported(devices: Any) -> None:
    task = separable()
    task.source.values[:20] = np.nan  # type: ignore[attr-defined]
    with pytest.raises(CommandFailed, match="lower --learning-rate"):
        fit(head(), task, STAGE, devices)


def test_the_progress_of_an_epoch_is_shown(devices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accuracy shown in the middle of an epoch is close to the accuracy of the whole epoch."""
    notes: list[str] = []
    monkeypatch.setattr("trainer.fitting.loop.Progress.advance", lambda self, steps, note="": notes.append(note))
    fitted = fit(head(), separable(4000), Stage(epochs=2, learning_rate=0.01), devices)
    running = [note for note in notes if note.startswith("epoch 2")]
    accuracy = float(running[-1].split("training ")[1].split()[0])
    assert accuracy == pytest.approx(fitted.epochs[1]["accuracy"], abs=0.03)
    assert f"validation {fitted.epochs[0]['val_accuracy']:.3f}" in running[0]
    assert "training" in [note for note in notes if note.startswith("epoch 1")][-1]


def test_patience_ends_fitting(devices: Any) -> None:
    fitted = fit(head(), separable(), dataclasses.replace(STAGE, epochs=200, patience=3), devices)
    assert len(fitted.epochs) == fitted.best_epoch + 3 < 200


def test_the_rate_rises_and_falls(devices: Any) -> None:
    stage = Stage(epochs=10, learning_rate=0.1, warmup_epochs=2, decay="cosine")
    rate = optimizers.optimizer(head(), stage, steps=10)._learning_rate
    assert [float(rate(step)) for step in (0, 10, 20, 60, 100)] == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-6)
    constant = optimizers.optimizer(head(), Stage(epochs=10, learning_rate=0.1), steps=10)._learning_rate
    assert [float(constant(step)) for step in (0, 50, 100)] == pytest.approx([0.1, 0.1, 0.1])


def test_weight_decay_spares_offsets(devices: Any) -> None:
    """With zero gradients, weights shrink in each step and biases stay."""
    model = head()
    model.set_weights([np.ones((3, 3), np.float32), np.ones(3, np.float32)])
    optimizer = optimizers.optimizer(model, Stage(epochs=1, learning_rate=0.5, weight_decay=0.1), steps=1)
    optimizer.apply([np.zeros((3, 3), np.float32), np.zeros(3, np.float32)], model.trainable_variables)
    weights, offsets = model.get_weights()
    np.testing.assert_allclose(weights, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(offsets, 1)


def test_a_rare_class_is_found_more_often_with_balanced_weights(devices: Any) -> None:
    chance = np.random.default_rng(0)
    truth = (chance.random(2000) < 0.05).astype(int)
    values = (truth[:, np.newaxis] * 1.0 + chance.normal(0, 1, (2000, 3))).astype(np.float32)
    rows = np.arange(2000)
    task = Task(Activations(values), truth, 2, rows[:1000], rows[1000:], 64, 0)
    recalls = []
    for kind in CLASS_WEIGHTS:
        fitted = fit(head(3, 2), task, Stage(20, 0.05, class_weights=kind, ema=0.9), devices)
        recalls.append(fitted.logits.argmax(1)[truth[1000:] == 1].mean())
    assert recalls[1] > recalls[0] + 0.3


def test_the_moving_average_takes_the_place_of_the_weights(devices: Any) -> None:
    """A high decay smooths the jumps that too high a learning rate causes; with a decay of zero, they remain."""
    task, jumpy = separable(), Stage(epochs=12, learning_rate=2.0)
    plain = fit(head(), task, jumpy, devices)
    smooth = fit(head(), task, dataclasses.replace(jumpy, ema=0.95), devices)
    assert np.std([e["val_loss"] for e in smooth.epochs[4:]]) < 0.3 * np.std([e["val_loss"] for e in plain.epochs[4:]])


def test_the_statistics_of_normalization_are_averaged_with_the_weights(devices: Any) -> None:
    """Averaged weights need averaged statistics: the latest statistics fit only the latest weights."""
    model = normalizing()
    fitting_ = Fitting("test", model, separable(), dataclasses.replace(STAGE, ema=0.999, epochs=3), devices, NONE)
    fitting_.run()
    layer = model.layers[1]
    averages = [fitting_._averages[id(variable)].numpy() for variable in layer.variables]
    assert len(averages) == 4
    for average, variable in zip(averages, layer.variables, strict=True):
        np.testing.assert_array_equal(average, variable.numpy())  # the values left in the model


def test_goes_on_from_the_end_of_an_epoch_that_was_not_measured(devices: Any, tmp_path: Path) -> None:
    """The run is killed during validation, after the last step was saved."""
    whole = fit(head(), separable(), STAGE, devices)
    kept = Checkpoints(str(tmp_path), seconds=0)
    killed = Fitting("test", head(), separable(), STAGE, devices, kept)

    def dying(*arguments: Any) -> Any:
        raise Killed

    killed._logits_function = dying
    with pytest.raises(Killed):
        killed.run()
    _, state = kept.load("test") or ([], {})
    assert state["epoch"] == 0
    assert state["step"] == separable().steps
    resumed = fit(head(), separable(), STAGE, devices, kept)
    assert [e["loss"] for e in resumed.epochs] == pytest.approx([e["loss"] for e in whole.epochs])
    np.testing.assert_allclose(resumed.logits, whole.logits, rtol=1e-5)


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 8, 13])
def test_goes_on_where_it_was_interrupted(devices: Any, tmp_path: Path, after: int) -> None:
    """The run is killed at various steps. The states of dropout, mixup, averages and optimizer are resumed, too."""
    stage = Stage(9, 0.05, warmup_epochs=1, decay="cosine", weight_decay=0.1, mixup=0.3, ema=0.9, label_smoothing=0.1)
    whole = fit(head(dropout=0.3), separable(), stage, devices)
    kept = Checkpoints(str(tmp_path), seconds=0)
    killed = Fitting("test", head(dropout=0.3), separable(), stage, devices, kept)
    calls, step = 0, killed._step_function

    def counting(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed
        return step(*arguments)

    killed._step_function = counting
    with pytest.raises(Killed):
        killed.run()
    resumed = fit(head(dropout=0.3), separable(), stage, devices, kept)
    assert resumed.epochs == whole.epochs
    assert resumed.best_epoch == whole.best_epoch
    np.testing.assert_array_equal(resumed.logits, whole.logits)


def test_batches_of_any_shape_run_through_one_graph(devices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs traced for different shapes round differently, and the stacks of a resumed run have other shapes."""
    traced = []
    inputs = fitting.batches.inputs
    monkeypatch.setattr(fitting.batches, "inputs", lambda *arguments: traced.append(1) or inputs(*arguments))
    monkeypatch.setattr(fitting, "_MOST_STEPS", 4)
    # An epoch has nine full batches, in stacks of 4, 4 and 1, and a partial batch.
    fit(head(), separable(), Stage(epochs=2, learning_rate=0.05), devices)
    assert len(traced) == 1


def test_a_finished_stage_is_not_repeated(devices: Any, tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), seconds=1e9)
    first = fit(head(), separable(), STAGE, devices, kept)
    again = Fitting("test", head(), separable(), STAGE, devices, kept)
    again._step_function = None  # type: ignore[assignment]
    np.testing.assert_array_equal(again.run().logits, first.logits)


ON_DEVICES = """
import json, sys
import tensorflow as tf
sys.path[:0] = [{tests!r}, {repository!r}]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * {count}
)
import test_loop as t
from trainer.fitting.distribution import Devices
names = [device.name for device in tf.config.list_logical_devices("CPU")]
strategy = tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()
devices = Devices(strategy)
assert devices.replicas == {count}
stage = t.Stage(6, 0.05, warmup_epochs=1, decay="cosine", weight_decay=0.1, mixup=0.3, ema=0.9, label_smoothing=0.1,
                class_weights="balanced")
with strategy.scope():
    model = t.head()
print(json.dumps(t.fit(model, t.separable(211), stage, devices).epochs))
with strategy.scope():
    model = t.normalizing()
fitted = t.fit(model, t.separable(), stage, devices)
assert fitted.epochs[-1]["val_accuracy"] > 0.7, fitted
with strategy.scope():
    model = t.halved()
fitted = t.fit(model, t.separable(), t.STAGE, devices)
assert fitted.epochs[-1]["val_accuracy"] > 0.9, fitted
"""


def test_two_devices_give_the_losses_of_one(repository: Path) -> None:
    """The last batch is not divisible by two: there are 161 rows in batches of 16."""
    losses = []
    for count in (1, 2):
        code = ON_DEVICES.format(tests=str(Path(__file__).parent), repository=str(repository), count=count)
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        losses.append(json.loads(done.stdout.splitlines()[-1]))
    for one, two in zip(*losses, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
