from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec

SIDE = 16
SPEC = ImageSpec(SIDE)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png(pixels: np.ndarray, depth: int, color_type: int, transparent: bytes | None = None) -> bytes:
    """Build a PNG `SIDE` pixels wide from packed lines, uint8 [H, bytes per line]."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", SIDE, len(pixels), depth, color_type, 0, 0, 0)
    body = b"".join(b"\0" + line.tobytes() for line in pixels)
    before = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def deep(values: Any) -> np.ndarray:
    """Return `SIDE` identical lines of 16-bit values, as big-endian bytes."""
    line = np.asarray(values, ">u2").reshape(1, -1).view(np.uint8)
    return np.ascontiguousarray(line.repeat(SIDE, 0))


RAMP = np.arange(SIDE) * 4096 + 1000
SCALED = np.rint(RAMP / 257)


def test_sixteen_bit_gray() -> None:
    image = read_image(png(deep(RAMP), 16, 0), SPEC)
    np.testing.assert_allclose(image[5], np.stack([SCALED] * 3, 1), atol=0)


def test_sixteen_bit_gray_with_alpha() -> None:
    half = np.stack([RAMP, np.full(SIDE, 32768)], 1)
    image = read_image(png(deep(half), 16, 4), SPEC)
    np.testing.assert_allclose(image[5, :, 0], SCALED / 2 + 127.5, atol=2)


def test_sixteen_bit_colour() -> None:
    color = np.stack([RAMP, 65535 - RAMP, RAMP // 2], 1)
    image = read_image(png(deep(color), 16, 2), SPEC)
    np.testing.assert_allclose(image[5], color / 257, atol=1)


@pytest.mark.parametrize(
    ("depth", "color_type", "line", "transparent"),
    [
        (1, 0, [0b10000000, 0], 1),
        (2, 0, [0b10000000, 0, 0, 0], 2),
        (4, 0, [0xA0] + [0] * 7, 10),
        (8, 0, [200] + [0] * 15, 200),
        (16, 0, [0x12, 0x34] + [0x12, 0x35] * 15, 0x1234),
    ],
)
def test_the_gray_that_stands_for_transparency(depth: int, color_type: int, line: list[int], transparent: int) -> None:
    pixels = np.array([line] * SIDE, np.uint8)
    image = read_image(png(pixels, depth, color_type, struct.pack(">H", transparent)), SPEC)
    assert (image[:, 0] == 255).all()
    assert (image[:, 1:] < 20).all()


def test_the_sixteen_bit_color_that_stands_for_transparency() -> None:
    line = [0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC] + [0, 0, 0x56, 0x78, 0, 0] * (SIDE - 1)
    pixels = np.array([line] * SIDE, np.uint8)
    image = read_image(png(pixels, 16, 2, bytes(line[:6])), SPEC)
    assert (image[:, 0] == 255).all()
    assert (image[:, 1:] == (0, 0x56, 0)).all()


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """Set a tag of type short or long in a little-endian TIFF to `value`."""
    heads = [struct.pack("<HHI", tag, kind, 1) for kind in (3, 4)]
    where = max(map(data.find, heads)) + 8
    return data[:where] + struct.pack("<I", value) + data[where + 4 :]


def test_tiff_of_sixteen_bits_where_zero_is_white() -> None:
    values = RAMP.astype(np.uint16).reshape(1, -1).repeat(SIDE, 0)
    black = encoded(Image.fromarray(values), "TIFF")
    np.testing.assert_allclose(read_image(black, SPEC)[5, :, 0], SCALED, atol=0)
    np.testing.assert_allclose(read_image(with_tag(black, 262, 0), SPEC)[5, :, 0], 255 - SCALED, atol=0)


def test_tiff_of_twelve_bits() -> None:
    packed = bytes([0xFF, 0xF8, 0x00] * (SIDE // 2)) * SIDE  # white and mid-gray pixels in turn
    data = with_tag(encoded(Image.new("L", (SIDE * 3 // 2, SIDE)), "TIFF"), 258, 12)
    data = with_tag(data, 256, SIDE)
    data = data[: -len(packed)] + packed  # Pillow writes the pixels last
    image = read_image(data, SPEC)
    np.testing.assert_allclose(image[3, :2, 0], [255, 128], atol=1)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_tiff_of_floating_point(top: float) -> None:
    values = np.linspace(0, top, SIDE, dtype=np.float32).reshape(1, -1).repeat(SIDE, 0)
    values[0, 0] = np.nan
    image = read_image(encoded(Image.fromarray(values), "TIFF"), SPEC)
    np.testing.assert_allclose(image[5, :, 0], np.linspace(0, 255, SIDE), atol=1)


def test_the_scale_of_floating_point_is_that_of_the_whole_picture() -> None:
    values = np.zeros((4000, 300), np.float32)  # more than one strip
    values[:2000] = 1.0
    values[2000:] = 200.0
    image = read_image(encoded(Image.fromarray(values), "TIFF"), ImageSpec(SIDE, "stretch"))
    np.testing.assert_allclose(image[[0, -1], 5, 0], [1, 200], atol=1)


def bmp(*pixels: bytes) -> bytes:
    """Build a BMP with a version 4 header, which declares the alpha channel; `pixels` are blue, green, red, alpha."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 4, 4, 1, 32, 3, 64, 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 122 + 64, 0, 0, 122) + header + b"".join(pixels)


def test_a_bmp_whose_alpha_was_left_empty_is_opaque() -> None:
    clear, opaque = b"\x1e\xc8\x0a\0", b"\x1e\xc8\x0a\xff"
    assert (read_image(bmp(*[clear] * 16), SPEC) == (10, 200, 30)).all()
    image = read_image(bmp(opaque, *[clear] * 15), SPEC)  # the first pixel is at the bottom left
    assert tuple(image[-1, 0]) == (10, 200, 30)
    assert (image[:8] == 255).all()


# Published values: CIE xy of the primaries and of the D65 white point, and the matrix from linear sRGB to XYZ.
P3 = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
SRGB = [(0.640, 0.330), (0.300, 0.600), (0.150, 0.060)]
D65 = (0.3127, 0.3290)


def to_xyz(primaries: list[tuple[float, float]]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ, [3, 3]."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)


BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def p3_profile() -> bytes:
    """Build a version 2 ICC profile for Display P3, with a gamma of 2.2 instead of the sRGB curve."""
    d50 = np.array([0.9642, 1.0, 0.8249])
    white = to_xyz(P3).sum(1)
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ d50) / (BRADFORD @ white)) @ BRADFORD
    columns = adapt @ to_xyz(P3)

    def fixed(values: Any) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def described(text: bytes) -> bytes:
        return b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0)
    tags = {
        b"desc": described(b"Display P3"),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(d50),
    }
    tags |= {name: b"XYZ \0\0\0\0" + fixed(columns[:, n]) for n, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    offset, table, bodies = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", offset + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = offset + len(bodies)
    head = struct.pack(">I4sI", size, b"none", 0x02100000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return head + fixed(d50) + bytes(48) + table + bodies


def p3_to_srgb(color: tuple[int, int, int]) -> np.ndarray:
    linear = (np.array(color) / 255) ** 2.2
    linear = (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(P3) @ linear).clip(0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * coded)


@pytest.mark.parametrize("color", [(200, 90, 60), (40, 180, 120), (128, 128, 128), (255, 255, 255), (255, 0, 0)])
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_embedded_profile_is_brought_to_srgb(color: tuple[int, int, int], format_: str) -> None:
    options = {"quality": 100, "subsampling": 0} if format_ == "JPEG" else {"quality": 100, "lossless": True}
    data = encoded(Image.new("RGB", (SIDE, SIDE), color), format_, icc_profile=p3_profile(), **options)
    image = read_image(data, SPEC)
    np.testing.assert_allclose(image[8, 8], p3_to_srgb(color), atol=3)
    if color[0] != color[1]:
        assert np.abs(image[8, 8].astype(int) - color).max() > 4 or color[0] == 255


def gray_profile() -> bytes:
    """Build an ICC profile for grayscale with a linear transfer curve."""
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    white = b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"gray\0" + bytes(78)
    tags = {b"desc": text + bytes(-len(text) % 4), b"wtpt": white, b"kTRC": curve}
    table, bodies, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", offset + len(bodies), len(body))
        bodies += body
    head = struct.pack(">I4sI", offset + len(bodies), b"none", 0x02100000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    return head + bytes(28) + white[8:] + bytes(48) + table + bodies


def test_a_gray_profile_is_for_gray() -> None:
    gray = encoded(Image.new("L", (SIDE, SIDE), 128), "PNG", icc_profile=gray_profile())
    np.testing.assert_allclose(read_image(gray, SPEC)[8, 8], 188, atol=2)  # 128 is half of the light, 188 in sRGB
    for picture in (
        Image.new("RGB", (SIDE, SIDE), (200, 90, 60)),
        Image.new("RGB", (SIDE, SIDE), (200, 90, 60)).quantize(),
    ):
        image = read_image(encoded(picture, "PNG", icc_profile=gray_profile()), SPEC)
        assert (image == (200, 90, 60)).all()


def test_a_profile_is_applied_even_if_its_name_contains_srgb() -> None:
    data = p3_profile().replace(b"Display P3", b"Wide sRGB2")
    image = read_image(encoded(Image.new("RGB", (SIDE, SIDE), (200, 90, 60)), "PNG", icc_profile=data), SPEC)
    np.testing.assert_allclose(image[8, 8], p3_to_srgb((200, 90, 60)), atol=3)


def test_transparent_pixels_stay_white_under_a_profile() -> None:
    data = encoded(Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 0)), "PNG", icc_profile=p3_profile())
    assert (read_image(data, SPEC) == 255).all()


@pytest.mark.parametrize("profile", [b"", b"no profile", b"\0" * 500])
def test_a_broken_profile_is_left_out(profile: bytes) -> None:
    data = encoded(Image.new("RGB", (SIDE, SIDE), (200, 90, 60)), "PNG", icc_profile=profile)
    assert (read_image(data, SPEC) == (200, 90, 60)).all()


def test_a_profile_for_other_colors_is_left_out() -> None:
    data = encoded(Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "JPEG", icc_profile=p3_profile(), quality=100)
    np.testing.assert_allclose(read_image(data, SPEC)[8, 8], (255, 0, 0), atol=3)


def test_gray_keeps_its_gray_under_a_profile_for_colors() -> None:
    data = encoded(Image.new("L", (SIDE, SIDE), 128), "PNG", icc_profile=p3_profile())
    image = read_image(data, SPEC)
    np.testing.assert_allclose(image[8, 8], p3_to_srgb((128, 128, 128)), atol=2)
