from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from catalogue.cli.errors import UserError
from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec
from catalogue.reasons import ImageError, Reason
from trainer.data import idx

CHANCE = np.random.default_rng(0)
IMAGES = CHANCE.integers(0, 256, (7, 12, 10), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def packed(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, images: bytes, labels: bytes, suffix: str = "") -> str:
    (folder / f"train-images-idx3-ubyte{suffix}").write_bytes(images)
    (folder / f"train-labels-idx1-ubyte{suffix}").write_bytes(labels)
    return f"{folder}/train-images-idx3-ubyte{suffix}"


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_reads_pictures_and_labels(tmp_path: Path, suffix: str, pack: type) -> None:
    file = write(tmp_path, pack(packed(IMAGES)), pack(packed(LABELS)), suffix)
    images, labels = idx.read_labeled(file)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(idx.pixels(f"{file}#3"), IMAGES[3])


def test_a_picture_is_read_like_any_other_image() -> None:
    square = IMAGES[0, :10]
    image = read_image(idx.as_bmp(square), ImageSpec(10))
    np.testing.assert_array_equal(image, np.repeat(square[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (packed(IMAGES)[:-1], packed(LABELS), "holds 839 bytes of data, but its header declares 840"),
        (packed(IMAGES) + b"x", packed(LABELS), "holds 841 bytes of data, but its header declares 840"),
        (packed(LABELS), packed(IMAGES), "check that the image and label files are not swapped"),
        (packed(IMAGES), packed(LABELS[:6]), "has 7 images, but .* has 6 labels"),
        (b"\x89PNG and so on and so forth", packed(LABELS), "is not an IDX file"),
        (b"", packed(LABELS), "is not an IDX file"),
        (gzip.compress(packed(IMAGES), mtime=0)[:-9], packed(LABELS), "is damaged"),
    ],
)
def test_files_cut_short_or_swapped_are_refused(tmp_path: Path, images: bytes, labels: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        idx.read_labeled(write(tmp_path, images, labels))


def test_a_missing_file_of_labels_is_reported(tmp_path: Path) -> None:
    file = write(tmp_path, packed(IMAGES), packed(LABELS))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="train-labels-idx1-ubyte is missing: put the label file beside"):
        idx.read_labeled(file)


@pytest.mark.parametrize("number", ["#7", "#-1", "#x", ""])
def test_pictures_that_are_not_there(tmp_path: Path, number: str) -> None:
    file = write(tmp_path, packed(IMAGES), packed(LABELS))
    with pytest.raises(ImageError, match="FILE#NUMBER, with a number from 0 to 6") as error:
        idx.pixels(file + number)
    assert error.value.reason is Reason.NOT_FOUND


def test_the_published_files(shared: Path) -> None:
    for name in ("mnist", "fashion-mnist"):
        for part, count in (("train", 60_000), ("t10k", 10_000)):
            images, labels = idx.read_labeled(f"{shared}/datasets/{name}/{part}-images-idx3-ubyte.gz")
            assert images.shape == (count, 28, 28)
            assert np.unique(labels).tolist() == list(range(10))


def test_files_without_pictures_and_files_of_labels_are_refused(tmp_path: Path) -> None:
    empty = write(tmp_path, packed(np.zeros((0, 4, 4), np.uint8)), packed(np.zeros(0, np.uint8)))
    with pytest.raises(UserError, match="holds no images"):
        idx.read_labeled(empty)
    with pytest.raises(UserError, match="is a label file: give the image file"):
        idx.is_images_file("x/train-labels-idx1-ubyte.gz")
