"""Colors described by CICP code points. The P3, BT.2020 PQ and linear pixel values come from an independent source."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from catalogue.images import av1, cicp
from catalogue.images.cicp import CodePoints, conversion_of
from catalogue.images.reader import read_image, read_thumbnail
from catalogue.images.spec import ImageSpec
from catalogue.reasons import ImageError, Reason

SPEC = ImageSpec(32, "stretch")
GROUND, GARMENT = (200, 200, 200), (200, 40, 40)  # in sRGB
# The two colors above in each encoding: primaries, transfer characteristics, ground, garment.
CODED = {
    "sRGB": (1, 13, (200, 200, 200), (200, 40, 40)),
    "television": (1, 1, (200, 200, 200), (200, 40, 40)),
    "unspecified": (2, 2, (200, 200, 200), (200, 40, 40)),
    "Display P3": (12, 13, (200, 200, 200), (184, 56, 49)),
    "BT.2020, PQ": (9, 16, (134, 134, 134), (122, 80, 67)),
    "linear light": (1, 8, (147, 147, 147), (147, 5, 5)),
}


def picture(ground: tuple[int, ...], garment: tuple[int, ...]) -> Image.Image:
    pixels = np.full((64, 64, 3), ground, np.uint8)
    pixels[16:48, 16:48] = garment
    return Image.fromarray(pixels)


def png(image: Image.Image, chunks: dict[bytes, bytes], **options: Any) -> bytes:
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    for kind, content in chunks.items():
        info.add(kind, content)
    image.save(buffer, "PNG", pnginfo=info, **options)
    return buffer.getvalue()


def avif(image: Image.Image, primaries: int, transfer: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", quality=100, subsampling="4:4:4", **options)
    before, mark, after = buffer.getvalue().partition(b"nclx")
    assert mark
    return before + mark + struct.pack(">HH", primaries, transfer) + after[4:]


def colors(data: bytes) -> np.ndarray:
    found = read_image(data, SPEC)
    return np.array([found[2, 2], found[16, 16]])


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("form", ["PNG", "AVIF"])
def test_colors_by_code_points_are_brought_to_srgb(name: str, form: str) -> None:
    primaries, transfer, *pixels = CODED[name]
    image = picture(*pixels)
    if form == "PNG":
        data = png(image, {b"cICP": bytes([primaries, transfer, 0, 1])})
    else:
        data = avif(image, primaries, transfer)
    np.testing.assert_allclose(colors(data), [GROUND, GARMENT], atol=4)


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("size", [64, 1024])
def test_colors_of_an_avif_without_a_color_box_are_those_of_its_stream(name: str, size: int) -> None:
    """libavif reads the colors of the stream, too. The lengths of the fields before them depend on the image size."""
    primaries, transfer, *pixels = CODED[name]
    image = np.asarray(picture(*pixels).resize((size, size), Image.Resampling.NEAREST))
    codec = pytest.importorskip("imagecodecs")
    data = codec.avif_encode(image, primaries=primaries, transfer=transfer, matrix=1, speed=10)
    assert b"colr" in data
    np.testing.assert_allclose(colors(data.replace(b"colr", b"free")), [GROUND, GARMENT], atol=4)


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def grid(tile: bytes) -> bytes:
    """Make an AVIF of two tiles beside each other, without ``colr``, from the 64 x 64 pixels of another AVIF."""
    start = tile.index(b"av1C")
    configuration = tile[start - 4 : start - 4 + int.from_bytes(tile[start - 4 : start], "big")]
    stream = tile[tile.index(b"mdat") + 4 :]
    cells = bytes([0, 0, 0, 1]) + struct.pack(">HH", 128, 64)
    sizes = [box(b"ispe", bytes(4), struct.pack(">II", width, 64)) for width in (128, 64)]
    properties = box(b"ipco", *sizes, box(b"pixi", bytes(4), bytes([3, 8, 8, 8])), configuration)
    numbers = {1: (1, 3), 2: (2, 3, 4), 3: (2, 3, 4)}
    associations = [struct.pack(">HB", item, len(own)) + bytes(own) for item, own in numbers.items()]
    entries = [
        box(b"infe", bytes([2, 0, 0, 0]), struct.pack(">HH4s", item, 0, kind), b"\0")
        for item, kind in enumerate((b"grid", b"av01", b"av01"), 1)
    ]

    def file(start: int) -> bytes:
        parts = [(1, start, len(cells))] + [(item, start + len(cells), len(stream)) for item in (2, 3)]
        places = [struct.pack(">HHHII", item, 0, 1, offset, length) for item, offset, length in parts]
        meta = box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", 1)),
            box(b"iloc", bytes(4), struct.pack(">HH", 0x4400, 3), *places),
            box(b"iinf", bytes(4), struct.pack(">H", 3), *entries),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(">HHHH", 1, 2, 2, 3))),
            box(b"iprp", properties, box(b"ipma", bytes(4), struct.pack(">I", 3), *associations)),
        )
        return box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf") + meta + box(b"mdat", cells, stream)

    return file(len(file(0)) - len(cells) - len(stream))


@pytest.mark.parametrize("name", CODED)
def test_colors_of_an_avif_grid_without_a_color_box_are_those_of_its_first_tile(name: str) -> None:
    primaries, transfer, *pixels = CODED[name]
    codec = pytest.importorskip("imagecodecs")
    tile = codec.avif_encode(np.asarray(picture(*pixels)), primaries=primaries, transfer=transfer, matrix=1, speed=10)
    found = read_image(grid(tile), ImageSpec(64, "stretch"))
    np.testing.assert_allclose([found[4, 4], found[32, 16], found[32, 48]], [GROUND, GARMENT, GARMENT], atol=4)


def test_a_stream_that_is_not_reduced_to_a_still_picture() -> None:
    """The sequence header, written by hand, has timing, a decoder model, a display delay and all inter-frame tools."""
    fields = [
        (1, 3), (0, 1), (0, 1),  # profile 1, not still, not reduced
        (1, 1), (1, 32), (30, 32), (1, 1), (0b00101, 5),  # timing, with a number in uvlc coding
        (1, 1), (9, 5), (1, 32), (3, 5), (4, 5),  # decoder model: delays of 10 bits
        (1, 1), (1, 5),  # display delay; two operating points
        (0, 12), (12, 5), (1, 1), (1, 1), (5, 10), (6, 10), (0, 1), (1, 1), (7, 4),
        (0, 12), (4, 5), (0, 1), (0, 1),
        (6, 4), (5, 4), (63, 7), (31, 6), (1, 1), (3, 4), (2, 3),  # size, frame ids
        (7, 3), (15, 4), (1, 1), (3, 2), (0, 1), (1, 1), (0, 1), (1, 1), (6, 3), (7, 3),  # tools
        (1, 1), (1, 1), (9, 8), (16, 8), (9, 8),  # 10 bits, colors described: BT.2020, PQ
    ]  # fmt: skip
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    header = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    delimiter, padding = bytes([2 << 3 | 2, 0]), bytes([15 << 3 | 2, 3, 1, 2, 3])
    stream = delimiter + padding + bytes([1 << 3 | 4 | 2, 0, len(header)]) + header
    assert av1.code_points(stream) == CodePoints(9, 16)
    assert av1.code_points(delimiter + padding) is None


def test_pq_values_brighter_than_white_are_clipped() -> None:
    """203 cd/m² is white, and brighter values are clipped; PQ reaches 10,000 cd/m²."""
    conversion = conversion_of(CodePoints(9, 16))
    assert conversion is not None
    gray = conversion.to_srgb(Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)))
    values = np.asarray(gray)[0, :, 0].astype(int)
    assert (np.diff(values) >= 0).all()
    assert values[0] == 0
    assert np.flatnonzero(values == 255)[0] == pytest.approx(148, abs=1)  # PQ(203 cd/m²) is 0.5807


def test_hlg_has_its_white_at_three_quarters() -> None:
    """ITU-R BT.2408: reference white is at 75 % of the HLG signal."""
    conversion = conversion_of(CodePoints(9, 18))
    assert conversion is not None
    levels = np.array([0, 0.75 * 255, 255]).round().astype(np.uint8)
    gray = conversion.to_srgb(Image.fromarray(np.repeat(levels[None, :, None], 3, 2)))
    np.testing.assert_allclose(np.asarray(gray)[0, :, 0], [0, 255, 255], atol=1)
    assert conversion.linear[128] == pytest.approx(1 / 12, rel=0.02)


def test_values_from_16_to_235_are_stretched() -> None:
    data = png(picture((16, 16, 16), (235, 235, 235)), {b"cICP": bytes([1, 13, 0, 0])})
    np.testing.assert_allclose(colors(data), [(0, 0, 0), (255, 255, 255)], atol=1)


@pytest.mark.parametrize(("primaries", "transfer"), [(10, 13), (1, 17), (1, 9), (200, 13)])
def test_code_points_that_are_not_supported_are_refused(primaries: int, transfer: int) -> None:
    image = picture(GROUND, GARMENT)
    for data in (png(image, {b"cICP": bytes([primaries, transfer, 0, 1])}), avif(image, primaries, transfer)):
        with pytest.raises(ImageError, match=f"color primaries {primaries} .*{transfer}") as error:
            read_image(data, SPEC)
        assert error.value.reason is Reason.UNSUPPORTED


SRGB_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_CHROMATICITIES = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def gamma(value: int, chromaticities: tuple[int, ...] = ()) -> dict[bytes, bytes]:
    chunks = {b"gAMA": struct.pack(">I", value)}
    return chunks | ({b"cHRM": struct.pack(">8I", *chromaticities)} if chromaticities else {})


def test_gamma_and_chromaticities_of_a_png() -> None:
    linear = picture((147, 147, 147), (147, 5, 5))
    np.testing.assert_allclose(colors(png(linear, gamma(100_000))), [GROUND, GARMENT], atol=4)
    wide = picture((200, 200, 200), (184, 56, 49))
    np.testing.assert_allclose(colors(png(wide, gamma(45_455, P3_CHROMATICITIES))), [GROUND, GARMENT], atol=2)
    plain = picture(GROUND, GARMENT)
    for same in (
        gamma(45_455),
        gamma(45_455, SRGB_CHROMATICITIES),
        gamma(0),
        gamma(1),
        gamma(2**31),
        gamma(45_455, (0,) * 8),
    ):
        assert colors(png(plain, same)).tolist() == [list(GROUND), list(GARMENT)]
    for ignored in ({b"sRGB": b"\0"} | gamma(100_000), {b"cICP": bytes([1, 13, 0, 1])} | gamma(100_000)):
        assert colors(png(plain, ignored)).tolist() == [list(GROUND), list(GARMENT)]


def test_primaries_that_are_on_a_line_are_ignored() -> None:
    assert cicp.conversion_of_gamma(1.0, ((0.3, 0.3), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3))) is None


def test_code_points_go_before_an_embedded_profile_in_a_png() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"QQQQ").replace(b"bXYZ", b"rXYZ").replace(b"QQQQ", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    plain = picture(GROUND, GARMENT)
    assert np.abs(colors(png(plain, {}, icc_profile=swapped))[1] - np.array(GARMENT)).max() > 50
    for points, pixels in ((bytes([1, 13, 0, 1]), plain), (bytes([12, 13, 0, 1]), picture(GROUND, (184, 56, 49)))):
        found = colors(png(pixels, {b"cICP": points}, icc_profile=swapped))
        np.testing.assert_allclose(found, [GROUND, GARMENT], atol=2)


def test_code_points_of_an_avif_are_found_in_any_ipma_box() -> None:
    """Property associations may be spread over several ``ipma`` boxes."""
    data = avif(picture((200, 200, 200), (184, 56, 49)), 12, 13)
    start = data.index(b"ipma") - 4
    empty = struct.pack(">I4sII", 16, b"ipma", 1, 0)  # an empty box with 15-bit property indices
    found = bytearray(data)
    found[start + 23 : start + 23] = empty
    assert found[start + 27 : start + 31] == b"ipma"
    for name in (b"iprp", b"meta"):
        at = found.index(name) - 4
        found[at : at + 4] = struct.pack(">I", struct.unpack_from(">I", found, at)[0] + 16)
    offset = found.index(b"iloc") + 18
    found[offset : offset + 4] = struct.pack(">I", struct.unpack_from(">I", found, offset)[0] + 16)
    np.testing.assert_allclose(colors(bytes(found)), [GROUND, GARMENT], atol=4)


def test_gray_and_transparent_pictures_are_converted_too() -> None:
    linear = Image.new("L", (64, 64), 147)
    assert np.abs(read_image(png(linear, gamma(100_000)), SPEC).astype(int) - 200).max() <= 2
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert (read_image(png(clear, {b"cICP": bytes([12, 13, 0, 1])}), SPEC) == 255).all()


def with_aperture(data: bytes, aperture: bytes) -> bytes:
    """Add a clean aperture to an AVIF written by Pillow: one more property, and one byte for its index."""
    found = bytearray(data)

    def enlarge(box: bytes, by: int) -> None:
        at = found.index(box) - 4
        found[at : at + 4] = struct.pack(">I", struct.unpack_from(">I", found, at)[0] + by)

    box = struct.pack(">I4s", 8 + len(aperture), b"clap") + aperture
    start = found.index(b"ipco") - 4
    end, count = start + struct.unpack_from(">I", found, start)[0], 0
    position = start + 8
    while position < end:
        position += struct.unpack_from(">I", found, position)[0]
        count += 1
    found[end:end] = box
    numbers = found.index(b"ipma") + 14
    found[numbers + 1 + found[numbers] : numbers + 1 + found[numbers]] = bytes([0x80 | count + 1])
    found[numbers] += 1
    for name, by in ((b"ipco", len(box)), (b"ipma", 1), (b"iprp", len(box) + 1), (b"meta", len(box) + 1)):
        enlarge(name, by)
    offset = found.index(b"iloc") + 18
    found[offset : offset + 4] = struct.pack(">I", struct.unpack_from(">I", found, offset)[0] + len(box) + 1)
    return bytes(found)


def test_an_avif_is_cropped_to_its_clean_aperture() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:24, 16:48] = (200, 40, 40)
    plain = avif(Image.fromarray(pixels), 1, 13)
    # The aperture is 32 × 16 pixels, centered at (32, 16): 16 pixels above the center of the picture.
    data = with_aperture(plain, struct.pack(">IIIIiIiI", 32, 1, 16, 1, 0, 1, -16, 1))
    assert read_thumbnail(plain, 64).shape == (64, 64, 3)
    found = read_thumbnail(data, 64)
    assert found.shape == (16, 32, 3)
    np.testing.assert_allclose(found.mean((0, 1)), (200, 40, 40), atol=4)
    for numbers, reason in (
        ((66, 1, 16, 1, 0, 1, 0, 1), Reason.CORRUPT),
        ((33, 2, 16, 1, 0, 1, 0, 1), Reason.UNSUPPORTED),
        ((32, 0, 16, 1, 0, 1, 0, 1), Reason.CORRUPT),
    ):
        with pytest.raises(ImageError) as error:
            read_image(with_aperture(plain, struct.pack(">IIIIiIiI", *numbers)), SPEC)
        assert error.value.reason is reason
