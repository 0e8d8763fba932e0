from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from trainer.fitting import batches, distribution
from trainer.fitting.augmentation import Augmentation
from trainer.fitting.batches import Batches
from trainer.fitting.inputs import Activations, Images
from trainer.fitting.stage import Stage
from trainer.fitting.task import Task

STAGE = Stage(epochs=15, learning_rate=0.05)


@pytest.fixture(scope="module")
def devices() -> distribution.Devices:
    return distribution.find()


def numbered(count: int = 100, **options: Any) -> Task:
    """Return a task in which photo n has the features (n, n, n) and the label n % 3."""
    values = np.repeat(np.arange(count, dtype=np.float32)[:, np.newaxis], 3, axis=1)
    rows = np.arange(count)
    return dataclasses.replace(Task(Activations(values), rows % 3, 3, rows[10:], rows[:10], 16, seed=3), **options)


def test_balanced_classes_count_the_same() -> None:
    truth = np.array([0] * 90 + [1] * 8 + [2] * 2)
    task = numbered(truth=truth, training=np.arange(100))
    weights = task.class_weights("balanced")
    assert np.bincount(truth, weights=weights[truth]).tolist() == pytest.approx([100 / 3] * 3)
    assert task.class_weights("none").tolist() == [1, 1, 1]


def steps_of(made: Batches, epoch: int = 0, first_step: int = 0) -> list[dict[str, Any]]:
    """Return the batches of an epoch on one device, one step at a time."""
    import tensorflow as tf

    found = []
    for count, stacked in made.of(epoch, first_step):
        found += [tf.nest.map_structure(lambda stack, n=n: stack[n].numpy(), stacked) for n in range(count)]
    return found


def seen(batches_: list[dict[str, Any]]) -> list[int]:
    return np.concatenate([batch["inputs"][0][:, 0] for batch in batches_]).astype(int).tolist()


def test_an_epoch_has_every_photo_once_in_an_order_of_its_own(devices: Any) -> None:
    made = Batches(numbered(), STAGE, devices, at_once=4)
    epochs = [steps_of(made, epoch) for epoch in (0, 0, 1)]
    assert seen(epochs[0]) == seen(epochs[1]) != seen(epochs[2])
    assert sorted(seen(epochs[0])) == sorted(seen(epochs[2])) == list(range(10, 100))
    assert [len(batch["weights"]) for batch in epochs[0]] == [16, 16, 16, 16, 16, 10]
    for batch in epochs[0]:
        np.testing.assert_array_equal(batch["targets"].argmax(axis=1), batch["inputs"][0][:, 0] % 3)
        assert batch["weights"].sum() == pytest.approx(1)


@pytest.mark.parametrize("first_step", [0, 1, 5, 6])
def test_stacking_and_resuming_change_no_batch(devices: Any, first_step: int) -> None:
    stage = dataclasses.replace(STAGE, mixup=0.4, label_smoothing=0.1)
    one_by_one = steps_of(Batches(numbered(), stage, devices, at_once=1))[first_step:]
    stacked = steps_of(Batches(numbered(), stage, devices, at_once=3), first_step=first_step)
    assert len(one_by_one) == len(stacked) == 6 - first_step
    for one, other in zip(one_by_one, stacked, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_balanced_classes_count_the_same_in_an_epoch(devices: Any, batch_size: int) -> None:
    """This holds even if most batches have no example of the rare class."""
    truth = np.array([0] * 190 + [1] * 10)
    task = numbered(200, truth=truth, training=np.arange(200), classes=2, batch_size=batch_size)
    made = Batches(task, dataclasses.replace(STAGE, class_weights="balanced"), devices, at_once=1)
    counted = np.zeros(2)
    for batch in steps_of(made):
        np.add.at(counted, batch["targets"].argmax(axis=1), batch["weights"] * len(batch["weights"]))
    assert counted == pytest.approx([100, 100], rel=1e-3)


def test_label_smoothing_spreads_the_truth(devices: Any) -> None:
    batch, *_ = steps_of(Batches(numbered(), dataclasses.replace(STAGE, label_smoothing=0.3), devices, at_once=1))
    assert np.sort(batch["targets"], axis=1) == pytest.approx(np.tile([0.1, 0.1, 0.8], (16, 1)))


def test_mixup_mixes_photos_as_it_mixes_their_targets(devices: Any) -> None:
    task = numbered()
    batch, *_ = steps_of(Batches(task, dataclasses.replace(STAGE, mixup=0.4), devices, at_once=1))
    share = batch["share"][:, np.newaxis]
    assert (share >= 0.5).all()
    assert share.min() < 0.95
    own, partners = batch["inputs"][0], batch["partners"][0]
    mixed = batches.inputs(task.source, batch).numpy()
    np.testing.assert_allclose(mixed, share * own + (1 - share) * partners, rtol=1e-5)
    truth = [np.eye(3)[values[:, 0].astype(int) % 3] for values in (own, partners)]
    np.testing.assert_allclose(batch["targets"], share * truth[0] + (1 - share) * truth[1], atol=1e-6)


def test_mixed_images_stay_images() -> None:
    import tensorflow as tf

    images = tf.stack([tf.fill((2, 2, 3), tf.constant(value, tf.uint8)) for value in (0, 100)])
    batch = {"inputs": (images,), "partners": (images[::-1],), "share": tf.constant([0.75, 1.0])}
    mixed = batches.inputs(Images(images, Augmentation()), batch).numpy()
    assert mixed.dtype == np.uint8
    assert mixed[:, 0, 0, 0].tolist() == [25, 100]
