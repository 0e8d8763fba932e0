"""JPEG files of unsupported kinds, and JPEG files that lack scans."""

from __future__ import annotations

import io
import random

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec
from catalogue.reasons import ImageError, Reason
from demo import draw

SPEC = ImageSpec(32, "stretch")
PICTURE = draw.draw("hat", random.Random(3)).resize((400, 500))
PIXELS = np.asarray(PICTURE)


def jpeg(**options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def error_of(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC)
    return error.value


def with_frame(marker: int, height: int | None = None) -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 1] = marker
    if height is not None:
        data[at + 5 : at + 7] = height.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (imagecodecs.jpeg8_encode(PIXELS, lossless=True, predictor=1), "lossless"),  # Pillow overruns its buffer
        (imagecodecs.jpeg8_encode(PIXELS[..., 1].astype(np.uint16) << 4, bitspersample=12), "with 12 bits"),
        (imagecodecs.jpegls_encode(PIXELS), "JPEG-LS"),
        (with_frame(0xC9), "with arithmetic coding"),
        (with_frame(0xCA), "with arithmetic coding"),
        (with_frame(0xC5), "hierarchical"),
        (with_frame(0xC0, height=0), "without a height in its header"),
    ],
    ids=["lossless", "12 bits", "JPEG-LS", "arithmetic", "progressive arithmetic", "hierarchical", "no height"],
)
def test_kinds_that_are_not_supported(data: bytes, words: str) -> None:
    error = error_of(data)
    assert error.reason is Reason.UNSUPPORTED
    assert error.message == f"this kind of JPEG is not supported: {words}"


def test_two_components_are_not_supported() -> None:
    two = np.ascontiguousarray(PIXELS[..., :2])
    error = error_of(bytes(imagecodecs.jpeg8_encode(two, colorspace="UNKNOWN", outcolorspace="UNKNOWN")))
    assert error.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("marker", [None, b"\xff\xd9"])
def test_a_progressive_file_that_lacks_scans_is_truncated(marker: bytes | None) -> None:
    """Without the scans that refine it, the picture would be blurred, or lack its colors."""
    data = jpeg(progressive=True, quality=90)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for at in scans[1:]:
        assert error_of(data[:at] + (marker or b"")).reason is Reason.TRUNCATED


def test_components_with_the_same_identifier_are_read() -> None:
    data = bytearray(jpeg(progressive=False))
    frame, scan = data.index(b"\xff\xc0") + 10, data.index(b"\xff\xda") + 5
    for number in range(3):
        data[frame + 3 * number] = data[scan + 2 * number] = 7
    assert read_image(bytes(data), SPEC).shape == (32, 32, 3)
    assert error_of(bytes(data[: len(data) // 2]) + b"\xff\xd9").reason is Reason.TRUNCATED


def test_a_file_with_a_damaged_index_of_further_images_is_read() -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", PICTURE.size)])
    data = buffer.getvalue()
    at = data.index(b"\x01\xb0\x04\x00\x01\x00\x00\x00") + 8  # NumberOfImages
    damaged = data[:at] + (3).to_bytes(4, "little") + data[at + 4 :]
    assert damaged != data
    np.testing.assert_array_equal(read_image(damaged, SPEC), read_image(data, SPEC))
    np.testing.assert_array_equal(read_image(data, SPEC), read_image(jpeg(), SPEC))
