"""IDX files, the format MNIST and Fashion-MNIST are published in: http://yann.lecun.com/exdb/mnist/.

Four bytes say what follows: two zeros, the type of a number (8 for uint8, the only one used for pictures) and how many
dimensions there are; then each dimension as four bytes, big-endian; then the numbers. Whether a file is gzipped is told
by its content.

A picture in such a file is named ``FILE#NUMBER``, counted from 0.
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
from catalogue.reasons import ImageError, Reason, StorageError

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_UINT8 = 8


def is_images_file(path: str) -> bool:
    """Whether a file is named as files of pictures are published, such as ``train-images-idx3-ubyte.gz``."""
    name = path.rpartition("/")[2]
    if LABELS in name:
        raise UserError(f"{path} is the file of labels: name that of the pictures, {name.replace(LABELS, IMAGES)}")
    return IMAGES in name


def read_labeled(images_file: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads a file of pictures and the file of labels beside it.

    Returns:
        images uint8 [N, h, w] and labels uint8 [N].

    Raises:
        UserError: a file is missing, is something else or is cut short, or the two do not belong together.
    """
    folder, slash, name = images_file.rpartition("/")
    labels_file = folder + slash + name.replace(IMAGES, LABELS)
    images = _read(images_file, 3)
    if not storage.exists(labels_file):
        raise UserError(f"{labels_file} is missing: the file of labels goes beside that of the pictures")
    labels = _read(labels_file, 1)
    if len(images) != len(labels):
        raise UserError(f"{images_file} holds {len(images):,} pictures, {labels_file} {len(labels):,} labels")
    return images, labels


@functools.lru_cache(maxsize=4)  # pictures and labels, to train on and to validate on
def _read(path: str, dimensions: int) -> np.ndarray:
    content = _content(path)
    header = 4 + 4 * dimensions
    if len(content) < 8 or content[:2] != b"\0\0":
        raise UserError(f"{path} is no IDX file: fetch it again")
    if (content[2], content[3]) != (_UINT8, dimensions):
        wanted = "pictures (three dimensions)" if dimensions == 3 else "labels (one dimension)"
        raise UserError(
            f"{path} holds numbers of type {content[2]} in {content[3]} dimensions instead of {wanted}: "
            "are the files of pictures and of labels swapped?"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header].ljust(4 * dimensions, b"\0"))
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != size:
        raise UserError(f"{path} holds {len(content) - header:,} bytes where its header says {size:,}: fetch it again")
    if not size:
        raise UserError(f"{path} holds no {'pictures' if dimensions == 3 else 'labels'}: its header says {shape}")
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
        raise UserError(f"{path} is damaged ({error}): fetch it again") from error


def pixels(uri: str) -> np.ndarray:
    """The picture ``FILE#NUMBER``, uint8 [h, w].

    Raises:
        ImageError: there is no such picture in it.
        UserError: the file cannot be read.
    """
    file, _, number = uri.rpartition("#")
    images = _read(file or uri, 3)
    if not file or not number.isdecimal() or int(number) >= len(images):
        raise ImageError(Reason.NOT_FOUND, f"name a picture as FILE#NUMBER, 0 to {len(images) - 1}")
    return images[int(number)]


def as_bmp(pixels: np.ndarray) -> bytes:
    """A picture uint8 [h, w] as an image file, so that it can go the way of every other image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "BMP")
    return buffer.getvalue()
