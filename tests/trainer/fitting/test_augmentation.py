from __future__ import annotations

import numpy as np
import pytest

from trainer.fitting import augmentation, warping
from trainer.fitting.augmentation import DEFAULT, Augmentation

SIDE = 41  # odd, so that there is a center pixel


def one(value: float = 0.5, **draws: float) -> np.ndarray:
    """Return a row of draws, all `value` except those named; 0.5 changes nothing."""
    names = ("flip", "rotation", "zoom", "right", "down", "shear", "brightness", "contrast", "saturation",
             "upside_down", "turn")  # fmt: skip
    return np.array([[draws.get(name, value) for name in names]], np.float32)


def varied(image: np.ndarray, how: Augmentation, drawn: np.ndarray) -> np.ndarray:
    return warping.apply(image[np.newaxis], *augmentation.variation(how, drawn, image.shape[0])).numpy()[0]


def dot(row: int, column: int) -> np.ndarray:
    """Return a black image with one white pixel."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[row, column] = 255
    return image


def place(image: np.ndarray) -> tuple[float, float]:
    """Return the center of the bright pixels: row, column."""
    light = image.sum(axis=2, dtype=float)
    rows, columns = np.indices(light.shape)
    return (rows * light).sum() / light.sum(), (columns * light).sum() / light.sum()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def test_nothing_is_changed_in_the_middle_of_every_range(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(varied(photo, Augmentation(), one(0.9)), photo)
    everything = Augmentation(True, 30, 0.3, 0.3, 20, 0.5)
    np.testing.assert_array_equal(varied(photo, everything, one(flip=0.9)), photo)


def test_moves_go_where_they_say() -> None:
    """The expected places were computed by hand from the center (20, 20)."""
    start = dot(20, 30)
    assert place(varied(start, Augmentation(flip=True), one(flip=0.1))) == pytest.approx((20, 10), abs=0.1)
    turned = place(varied(start, Augmentation(rotation=90), one(rotation=1.0)))
    assert sorted([turned, (40 - turned[0], turned[1])]) == [
        pytest.approx((10, 20), abs=0.1),
        pytest.approx((30, 20), abs=0.1),
    ]
    assert place(varied(start, Augmentation(zoom=0.5), one(zoom=1.0)))[1] == pytest.approx(35, abs=0.1)
    assert place(varied(start, Augmentation(zoom=0.5), one(zoom=0.0)))[1] == pytest.approx(20 + 10 / 1.5, abs=0.4)
    right = place(varied(start, Augmentation(shift=0.2), one(right=1.0)))
    assert right == pytest.approx((20, 30 - 0.2 * SIDE), abs=0.1)
    down = place(varied(start, Augmentation(shift=0.2), one(down=0.0)))
    assert down == pytest.approx((20 + 0.2 * SIDE, 30), abs=0.1)
    leaning = [place(varied(dot(row, 20), Augmentation(shear=45), one(shear=1.0))) for row in (15, 25)]
    assert [row for row, _ in leaning] == pytest.approx([15, 25], abs=0.1)
    assert abs(leaning[0][1] - leaning[1][1]) == pytest.approx(10, abs=0.1)


def test_photos_are_turned_by_quarters_and_upside_down(photo: np.ndarray) -> None:
    """The pixels are moved without resampling."""
    turns = Augmentation(quarter_turns=True)
    found = [varied(photo, turns, one(turn=(quarter + 0.5) / 4)) for quarter in range(4)]
    expected = [np.rot90(photo, quarter) for quarter in range(4)]
    assert all(any(np.array_equal(one, other) for other in found) for one in expected)
    np.testing.assert_array_equal(varied(photo, Augmentation(vertical_flip=True), one(upside_down=0.1)), photo[::-1])
    np.testing.assert_array_equal(varied(photo, Augmentation(vertical_flip=True), one(upside_down=0.9)), photo)
    drawn = augmentation.draws(0, 1, 4000)
    both = augmentation.variation(Augmentation(vertical_flip=True, quarter_turns=True), drawn, SIDE).moves[
        :, [0, 1, 3, 4]
    ]
    kinds, counts = np.unique(np.rint(both), axis=0, return_counts=True)
    assert len(kinds) == 8
    assert counts.min() > 400


def test_colors_change_as_they_say() -> None:
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = (200, 100, 50)
    how = Augmentation(color=0.5)
    assert varied(image, how, one(brightness=0.75))[0, 0].tolist() == [255, 164, 114]  # a quarter of 255 is 64
    assert varied(image, how, one(contrast=0.0))[0, 0].tolist() == [164, 114, 89]  # halfway to 127.5
    gray = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    expected = [round((channel + gray) / 2) for channel in (200, 100, 50)]
    assert varied(image, how, one(saturation=0.0))[0, 0].tolist() == expected


def test_a_copy_depends_on_seed_number_and_row_only() -> None:
    drawn = augmentation.draws(3, 1, 100)
    np.testing.assert_array_equal(drawn[:40], augmentation.draws(3, 1, 40))
    assert not np.array_equal(drawn, augmentation.draws(3, 2, 100))
    assert not np.array_equal(drawn, augmentation.draws(4, 1, 100))
    images = np.random.default_rng(1).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    whole = warping.apply(images, *augmentation.variation(DEFAULT, drawn[:6], SIDE)).numpy()
    alone = warping.apply(images[4:5], *augmentation.variation(DEFAULT, drawn[4:5], SIDE)).numpy()
    np.testing.assert_array_equal(whole[4:5], alone)


def test_views_of_a_photo_are_varied_alike(photo: np.ndarray) -> None:
    drawn = augmentation.draws(seed=1, copy=1, rows=2)
    views = np.stack([photo, 255 - photo])
    how = augmentation.variation(DEFAULT, drawn, photo.shape[1])
    expected = np.concatenate([warping.apply(views, *how), warping.apply(255 - views, *how)], axis=1)
    found = warping.apply(np.concatenate([views, 255 - views], axis=1), *how)
    np.testing.assert_array_equal(found, expected)


def test_about_half_are_mirrored() -> None:
    moves = augmentation.variation(Augmentation(flip=True), augmentation.draws(0, 0, 2000), SIDE).moves
    assert 0.45 < (moves[:, 0] < 0).mean() < 0.55
