from __future__ import annotations

import numpy as np

from trainer.fitting.augmentation import Augmentation
from trainer.fitting.inputs import Activations, Images


def test_every_epoch_takes_another_copy() -> None:
    values = np.zeros((5, 2), np.float16)
    rows = np.array([0, 2, 3])
    copies = np.stack([np.full((3, 2), 10 * copy) + rows[:, np.newaxis] for copy in (1, 2)]).astype(np.float16)
    source = Activations(values, copies, rows, seed=1)
    seen = np.array([source.training(np.array([3, 0]), epoch)[0][:, 0] for epoch in range(3)])
    assert sorted(seen[:, 0]) == [0, 13, 23]
    assert sorted(seen[:, 1]) == [0, 10, 20]
    np.testing.assert_array_equal(source.plain(np.array([3])), values[3:4])


def test_images_are_varied_anew_in_every_epoch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    source = Images(images, Augmentation(rotation=20), seed=0)
    rows = np.array([2, 1])
    varied = [source.inputs(*source.training(rows, epoch)).numpy() for epoch in (0, 0, 1)]
    np.testing.assert_array_equal(varied[0], varied[1])
    assert not np.array_equal(varied[0], varied[2])
    np.testing.assert_array_equal(source.plain(rows), images[rows])
    plain = Images(images, Augmentation(), seed=0)
    np.testing.assert_array_equal(plain.inputs(*plain.training(rows, 0)), images[rows])
