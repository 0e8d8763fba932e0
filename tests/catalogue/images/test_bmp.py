"""Kinds of BMP files: each is decoded correctly or refused with the right reason."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec
from catalogue.reasons import ImageError, Reason

SPEC = ImageSpec(8, "stretch")
RED_PNG = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(RED_PNG, "PNG")
A1R5G5B5 = (0x7C00, 0x3E0, 0x1F, 0x8000)


def bmp(
    bits: int,
    compression: int,
    pixels: bytes,
    *,
    masks: tuple[int, ...] = (),
    header: int = 40,
    size: tuple[int, int] = (8, 8),
    palette: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """Build a BMP file of any kind."""
    head = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0)
    head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(header, b"\0") + palette
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels + tail


def reason_of(data: bytes) -> Reason:
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC)
    return error.value.reason


@pytest.mark.parametrize(
    ("bits", "compression", "masks", "header", "pixel"),
    [
        (24, 0, (), 40, b"\0\0\xff"),
        (32, 0, (), 40, b"\0\0\xff\0"),
        (16, 0, (), 40, b"\0\x7c"),
        (16, 3, (0xF800, 0x7E0, 0x1F), 40, b"\0\xf8"),
        (32, 3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 124, b"\0\0\xff\xff"),
    ],
)
def test_plain_kinds_are_decoded(
    bits: int, compression: int, masks: tuple[int, ...], header: int, pixel: bytes
) -> None:
    image = read_image(bmp(bits, compression, pixel * 64, masks=masks, header=header), SPEC)
    assert (image == (255, 0, 0)).all()


@pytest.mark.parametrize(
    "data",
    [
        bmp(8, 1, b"\x08\1\0\0" * 8 + b"\0\1", palette=b"\0\0\0\0\0\0\xff\0"),
        bmp(4, 2, b"\x08\x11\0\0" * 8 + b"\0\1", palette=b"\0\0\0\0\0\0\xff\0"),
        bmp(8, 1, b"\0\2\xff\xff\0\1", palette=b"\0\0\xff\0" * 2, size=(2_000_000, 48)),  # this took gigabytes
        bmp(16, 3, b"\0\x7c" * 64, masks=A1R5G5B5, header=124),
        bmp(16, 3, b"\0\xff" * 64, masks=(0xF00, 0xF0, 0xF, 0xF000), header=124),
        bmp(32, 3, b"\0\0\0\x3f" * 64, masks=(0x3FF00000, 0xFFC00, 0x3FF)),
        bmp(32, 6, b"\0\0\xff\xff" * 64, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        bmp(0, 5, RED_PNG.getvalue()),
        bmp(2, 0, bytes(32), palette=b"\0\0\xff\0" * 4),
        bmp(64, 0, bytes(512)),
        bmp(24, 0, b"\0\0\xff" * 64, header=16),
    ],
    ids=["RLE8", "RLE4", "RLE delta", "A1R5G5B5", "A4R4G4B4", "10 bits", "alpha masks", "PNG", "2 bits", "64 bits",
         "OS/2"],
)  # fmt: skip
def test_kinds_that_are_not_supported(data: bytes) -> None:
    assert reason_of(data) is Reason.UNSUPPORTED


def test_text_that_begins_with_the_signature() -> None:
    assert reason_of(b"BMW catalogue, autumn; see attached\n" * 5) is Reason.UNKNOWN_FORMAT


@pytest.mark.parametrize("size", [3, 17, 30, 53, 60])
def test_cut_headers(size: int) -> None:
    assert reason_of(bmp(24, 0, b"\0\0\xff" * 64)[:size]) in (Reason.CORRUPT, Reason.TRUNCATED)


def test_the_embedded_profile_is_applied() -> None:
    """The profile swaps red and blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"QQQQ"), (b"bXYZ", b"rXYZ"), (b"QQQQ", b"bXYZ")):
        profile = profile.replace(old, new)
    data = bytearray(bmp(24, 0, b"\0\0\xff" * 64, header=124, tail=profile))
    data[70:74] = b"DEBM"
    data[126:134] = struct.pack("<II", 124 + 192, len(profile))
    np.testing.assert_allclose(read_image(bytes(data), SPEC)[0, 0], (0, 0, 255), atol=2)
