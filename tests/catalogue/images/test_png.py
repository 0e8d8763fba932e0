"""PNG chunks that Pillow rejects or misreads."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import ImageCms

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec
from catalogue.reasons import ImageError, Reason

SPEC = ImageSpec(8, "stretch")
RED = (b"\0" + b"\xff\0\0" * 8) * 8


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: bytes, *chunks: bytes, depth: int = 8, size: tuple[int, int] = (8, 8)) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def large_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(1_200_000)
    return b"p\0\0" + zlib.compress(struct.pack(">I", len(profile)) + profile[4:])


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"workflow " * 170_000)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<xmp> " * 250_000)),
        chunk(b"iCCP", large_profile()),
        chunk(b"acTL", b"\0"),
        chunk(b"pHYs", b"\1"),
        chunk(b"sRGB", b""),
        chunk(b"gAMA", b"\0\1"),
        chunk(b"cHRM", b"\0\1"),
        chunk(b"tRNS", b"\0\1"),
    ],
    ids=["long text", "bomb", "long XMP", "large profile", "acTL", "pHYs", "sRGB", "gAMA", "cHRM", "tRNS"],
)
def test_remarks_of_any_size_and_short_chunks_are_passed_over(extra: bytes) -> None:
    assert (read_image(png(RED, extra), SPEC) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("palette", "alpha", "reason"),
    [
        (b"\xff\0\0" * 256, bytes(range(200)) + bytes(100), None),  # more alpha values than any palette has colors
        (b"\xff\0\0" * 256, b"\xff" * 280 + b"\0" + b"\xff" * 5, None),
        (b"\xff\0\0", b"\xff", None),
        (b"", b"\xff", Reason.CORRUPT),
        (b"\xff\0", b"\xff", Reason.CORRUPT),
        (None, b"\xff", Reason.CORRUPT),  # Pillow would decode a black image
    ],
)
def test_palettes(palette: bytes | None, alpha: bytes, reason: Reason | None) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0))
    chunks = (chunk(b"PLTE", palette) if palette is not None else b"") + chunk(b"tRNS", alpha)
    data = b"\x89PNG\r\n\x1a\n" + head + chunks + chunk(b"IDAT", zlib.compress(bytes(9 * 8))) + chunk(b"IEND", b"")
    if reason is None:
        assert (read_image(data, SPEC) == (255, 0, 0)).all()
    else:
        with pytest.raises(ImageError) as error:
            read_image(data, SPEC)
        assert error.value.reason is reason


def test_only_the_color_of_16_bits_is_transparent() -> None:
    """Pillow compares only the high bytes, so two other colors of this file would become white, too."""
    colors = [(0x1234, 0x5678, 0x9ABC), (0x1235, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9A00), (0, 0, 0x4000)] * 2
    row = b"\0" + b"".join(struct.pack(">3H", *color) for color in colors)
    image = read_image(png(row * 8, chunk(b"tRNS", struct.pack(">3H", *colors[0])), depth=16), SPEC)
    np.testing.assert_array_equal(image[0, :4], [(255, 255, 255), (0x12, 0x56, 0x9A), (0x12, 0x56, 0x9A), (0, 0, 0x40)])


def test_apples_format_for_apps_is_not_supported() -> None:
    data = png(RED)
    with pytest.raises(ImageError, match="CgBI") as error:
        read_image(data[:8] + chunk(b"CgBI", b"\x50\0\x20\6") + data[8:], SPEC)
    assert error.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("key", [b"exif", b"APP1"])
def test_the_orientation_in_a_text_of_imagemagick(key: bytes) -> None:
    body = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    text = b"\nexif\n%8d\n" % len(body) + body.hex().encode() + b"\n"
    rows = (b"\0" + b"\xff\0\0" * 4 + b"\0\0\xff" * 4) * 8  # red on the left
    image = read_image(png(rows, chunk(b"zTXt", b"Raw profile type " + key + b"\0\0" + zlib.compress(text))), SPEC)
    assert image[0, 0].tolist() == [255, 0, 0]
    assert image[0, 7].tolist() == [255, 0, 0]
    assert image[7, 0].tolist() == [0, 0, 255]
