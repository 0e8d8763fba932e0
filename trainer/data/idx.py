"""IDX files, the format of MNIST and Fashion-MNIST: http://yann.lecun.com/exdb/mnist/.

A file begins with four bytes: two zeros, the data type (8 for uint8, the only type supported here) and the number of
dimensions. Each dimension follows in four bytes, big-endian, and then the data. Gzip is detected by its magic bytes.

An image in such a file is named ``FILE#NUMBER``, with numbers from 0.
"""

from __future__ import annotations

import functools
import gzip
import io
import struct
import zlib

import numpy as np
from PIL import Image

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.text import counted
from catalogue.reasons import ImageError, Reason, StorageError

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_UINT8 = 8


def is_images_file(path: str) -> bool:
    """Return whether a file is named like a published image file, such as ``train-images-idx3-ubyte.gz``.

    Raises:
        UserError: the file is named like a label file.
    """
    name = path.rpartition("/")[2]
    if LABELS in name:
        raise UserError(f"{path} is a label file: give the image file, {name.replace(LABELS, IMAGES)}")
    return IMAGES in name


def read_labeled(images_file: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an image file and the label file beside it.

    Returns:
        images uint8 [N, h, w] and labels uint8 [N].

    Raises:
        UserError: a file is missing, truncated, empty or not an IDX file, or the two do not match.
    """
    folder, slash, name = images_file.rpartition("/")
    labels_file = folder + slash + name.replace(IMAGES, LABELS)
    images = _read(images_file, 3)
    if not storage.exists(labels_file):
        raise UserError(f"{labels_file} is missing: put the label file beside the image file")
    labels = _read(labels_file, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{images_file} has {counted(len(images), 'image')}, but {labels_file} has "
            f"{counted(len(labels), 'label')}: give files that belong together"
        )
    return images, labels


@functools.lru_cache(maxsize=6)  # images and labels of the training, validation and test sets
def _read(path: str, dimensions: int) -> np.ndarray:
    content = _content(path)
    header = 4 + 4 * dimensions
    if len(content) < 8 or content[:2] != b"\0\0":
        raise UserError(f"{path} is not an IDX file: download it again")
    if (content[2], content[3]) != (_UINT8, dimensions):
        wanted = "images (type 8, three dimensions)" if dimensions == 3 else "labels (type 8, one dimension)"
        raise UserError(
            f"{path} holds data of type {content[2]} in {content[3]} dimensions instead of {wanted}: "
            "check that the image and label files are not swapped"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header].ljust(4 * dimensions, b"\0"))
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != size:
        raise UserError(
            f"{path} holds {len(content) - header:,} bytes of data, but its header declares {size:,}: download it again"
        )
    if not size:
        raise UserError(
            f"{path} holds no {'images' if dimensions == 3 else 'labels'}: the shape in its header is {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: str) -> bytes:
    try:
        content = storage.read_bytes(path)
    except StorageError as error:
        raise UserError(f"{path} cannot be read: {error.message}") from error
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): download it again") from error


def pixels(uri: str) -> np.ndarray:
    """Return the image ``FILE#NUMBER``, uint8 [h, w].

    Raises:
        ImageError: the file has no such image.
        UserError: the file cannot be read.
    """
    file, _, number = uri.rpartition("#")
    images = _read(file or uri, 3)
    if not file or not number.isdecimal() or int(number) >= len(images):
        raise ImageError(Reason.NOT_FOUND, f"name an image as FILE#NUMBER, with a number from 0 to {len(images) - 1}")
    return images[int(number)]


def as_bmp(pixels: np.ndarray) -> bytes:
    """Encode an image uint8 [h, w] as BMP, so that it can be read like any other image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "BMP")
    return buffer.getvalue()
