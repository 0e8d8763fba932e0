from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, TiffImagePlugin, TiffTags

from catalogue.images import colors
from catalogue.images.reader import read_image, read_thumbnail
from catalogue.images.spec import RESIZE_RULES, ImageSpec, Limits
from catalogue.reasons import ImageError, Reason

REPOSITORY = Path(__file__).parents[3]
SPEC = ImageSpec(32, "stretch")
# Four quarters: red, green, blue, white.
QUARTERS = np.zeros((64, 64, 3), np.uint8)
QUARTERS[:32, :32] = (255, 0, 0)
QUARTERS[:32, 32:] = (0, 255, 0)
QUARTERS[32:, :32] = (0, 0, 255)
QUARTERS[32:, 32:] = 255


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def quarter_means(image: np.ndarray) -> np.ndarray:
    """Return the mean colors of the inner parts of the four quarters, [4, 3]."""
    side = image.shape[0] // 2
    corners = [(y, x) for y in (0, side) for x in (0, side)]
    return np.array([image[y + 4 : y + side - 4, x + 4 : x + side - 4].mean((0, 1)) for y, x in corners])


EXPECTED = quarter_means(QUARTERS[::2, ::2])


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_reads_each_format(format_: str) -> None:
    image = read_image(encoded(Image.fromarray(QUARTERS), format_), SPEC)
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    np.testing.assert_allclose(quarter_means(image), EXPECTED, atol=12)


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA"])
def test_color_modes_give_the_same_picture(mode: str) -> None:
    format_ = "JPEG" if mode == "CMYK" else "PNG"
    image = read_image(encoded(Image.fromarray(QUARTERS).convert(mode), format_), SPEC)
    np.testing.assert_allclose(quarter_means(image), EXPECTED, atol=12)


STORED_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(orientation: int) -> Image.Image:
    """Return `QUARTERS` as they are stored in a file with this EXIF orientation."""
    upright = Image.fromarray(QUARTERS)
    return upright.transpose(STORED_TURNED[orientation]) if orientation in STORED_TURNED else upright


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = read_image(encoded(turned(orientation), format_, exif=exif, quality=95), SPEC)
    np.testing.assert_allclose(quarter_means(image), EXPECTED, atol=12)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0MM\0*\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_orientation_is_taken_from_xmp_where_exif_has_none_or_is_broken(exif: bytes) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    image = read_image(encoded(turned(8), "JPEG", exif=exif, xmp=xmp, quality=95), SPEC)
    np.testing.assert_allclose(quarter_means(image), EXPECTED, atol=12)


WIDE = Image.new("RGB", (300, 100), (0, 0, 255))
WIDE.paste((255, 0, 0), (100, 0, 200, 100))  # blue, red, blue


def test_stretch_shows_all_and_changes_the_proportions() -> None:
    image = read_image(encoded(WIDE, "PNG"), ImageSpec(60, "stretch"))
    assert [tuple(image[30, x]) for x in (5, 30, 55)] == [(0, 0, 255), (255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize("scale", [1, 20])
def test_crop_shows_the_square_in_the_middle(scale: int) -> None:
    large = WIDE.resize((300 * scale, 100 * scale), Image.Resampling.NEAREST)
    for format_ in ("PNG", "JPEG"):
        image = read_image(encoded(large, format_, quality=95), ImageSpec(60, "crop")).astype(int)
        assert np.abs(image - (255, 0, 0)).max() <= (0 if format_ == "PNG" else 60)  # JPEG mixes colors at the edges
        assert np.abs(image[:, 3:-3] - (255, 0, 0)).max() <= 2


def test_pad_keeps_the_proportions_and_fills_up_with_white() -> None:
    image = read_image(encoded(WIDE, "PNG"), ImageSpec(60, "pad"))
    assert (image[:20] == 255).all()
    assert (image[40:] == 255).all()
    assert [tuple(image[30, x]) for x in (5, 30, 55)] == [(0, 0, 255), (255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize("rule", RESIZE_RULES)
def test_each_rule_gives_the_square_of_any_shape(rule: str) -> None:
    for size in [(4, 4), (5, 2000), (2000, 5), (333, 77), (60, 60)]:
        image = read_image(encoded(Image.new("RGB", size, (9, 99, 199)), "PNG"), ImageSpec(60, rule))
        assert image.shape == (60, 60, 3)
        assert (image == (9, 99, 199)).all(axis=2).any()


@pytest.mark.parametrize("shape", [(300, 100), (100, 300), (4000, 3000), (60, 60)])
@pytest.mark.parametrize(("format_", "off_by"), [("PNG", 0), ("JPEG", 4)])  # a JPEG is scaled once for all views
def test_views_are_stacked_squares_one_for_each_rule(shape: tuple[int, int], format_: str, off_by: int) -> None:
    across, down = np.meshgrid(np.linspace(0, 255, shape[0]), np.linspace(0, 255, shape[1]))
    smooth = Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))
    data = encoded(smooth, format_)
    spec = ImageSpec(60, "pad,crop,stretch")
    image = read_image(data, spec)
    assert image.shape == spec.shape == (180, 60, 3)
    single = np.concatenate([read_image(data, ImageSpec(60, view)) for view in spec.views])
    assert np.abs(image.astype(int) - single).max() <= off_by


@pytest.mark.parametrize("views", ["crop,crop", "crop,", "", "crop,fit"])
def test_views_that_are_repeated_or_unknown_are_refused(views: str) -> None:
    with pytest.raises(ValueError, match=r"twice|unknown resize rule"):
        ImageSpec(60, views)


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (16, 16), (10, 20, 30, 0))
    half = Image.new("RGBA", (16, 16), (0, 0, 0, 128))
    assert (read_image(encoded(clear, "PNG"), SPEC) == 255).all()
    assert abs(int(read_image(encoded(half, "PNG"), SPEC).mean()) - 127) <= 1


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(256, 0)
    image = read_image(encoded(Image.fromarray(ramp), "PNG"), ImageSpec(256))
    np.testing.assert_allclose(image[128, :, 0], np.arange(256), atol=1)


def test_large_jpeg_read_in_the_dct_domain_looks_like_the_plain_one() -> None:
    chance = np.random.default_rng(0)
    photo = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (1600, 1200), Image.Resampling.BICUBIC
    )
    data = encoded(photo, "JPEG", quality=90)
    plain = np.asarray(Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.BILINEAR), int)
    assert np.abs(read_image(data, ImageSpec(64, "stretch")) - plain).mean() < 1.5


def test_thumbnail_keeps_the_shape() -> None:
    assert read_thumbnail(encoded(Image.new("RGB", (300, 100)), "JPEG"), 60).shape == (20, 60, 3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, *more: bytes, depth: int = 8, color_type: int = 2) -> bytes:
    """Build a PNG from compressed `pixels`, preceded by the chunks `more`."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif(canvas: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """Build a GIF with a single red frame on a canvas of another size."""
    whole = bytearray(encoded(Image.new("P", frame), "GIF"))
    palette_size = 3 * 2 ** ((whole[10] & 7) + 1)
    whole[13 : 13 + palette_size] = (b"\xff\0\0" + b"\0\0\xff" * (palette_size // 3))[:palette_size]
    whole[6:10] = struct.pack("<HH", *canvas)
    return bytes(whole)


def test_the_frame_of_a_gif_lies_on_its_canvas() -> None:
    image = read_image(gif((64, 64), (32, 32)), ImageSpec(64))
    assert (image[:30, :30] == (255, 0, 0)).all()
    assert (image[34:] == 255).all()
    assert (image[:, 34:] == 255).all()


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_of_an_animation_is_read(format_: str) -> None:
    others = [Image.new("RGB", (64, 64), color) for color in ("black", "white")]
    data = encoded(Image.fromarray(QUARTERS), format_, save_all=True, append_images=others)
    np.testing.assert_allclose(quarter_means(read_image(data, SPEC)), EXPECTED, atol=12)


def in_a_process(body: str, file: Path) -> Any:
    """Run `body` in a new process, where `data` holds the contents of `file`, and return the JSON that it prints."""
    head = """
import json, sys, time
from pathlib import Path
from tests.fuzz_images import peak_bytes as peak
from catalogue.reasons import ImageError
from catalogue.images.spec import ImageSpec
from catalogue.images.reader import read_image
data = Path(sys.argv[1]).read_bytes()
before = peak()
"""
    words = [sys.executable, "-c", head + body, str(file)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout)


def solid_png(side: int) -> bytes:
    """Build a PNG of a single color: a few megabytes on disk, even with hundreds of millions of pixels."""
    packer = zlib.compressobj(9)
    line = b"\0" * (3 * side + 1)
    return png(side, side, b"".join(packer.compress(line * 100) for _ in range(side // 100)) + packer.flush())


# A picture of a single color, 16383 pixels a side, in 34 bytes.
HUGE_WEBP = bytes.fromhex("524946461a000000574542505650384c0e0000002ffebfff0f071011fd0f4444ff03")


def huge_tiff() -> bytes:
    """Build a small TIFF whose tags claim 20,000 pixels a side."""
    data = encoded(Image.new("1", (64, 64)), "TIFF", compression="group4")
    for tag in (256, 257):
        where = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
        data = data[:where] + struct.pack("<HH", 20_000, 0) + data[where + 4 :]
    return data


XMP_HEAD = b"XML:com.adobe.xmp\0\1\0\0\0"
TEXT = [chunk(b"iTXt", XMP_HEAD + zlib.compress(b"\0" * 50_000_000))]
MANY_TEXTS = [chunk(b"iTXt", XMP_HEAD + zlib.compress(b"a" * 900_000))] * 100
PROFILE = [chunk(b"iCCP", b"key\0\0" + zlib.compress(b"\0" * 50_000_000))]
SMALL_PIXELS = zlib.compress(b"\0" * 200)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: solid_png(30_000), Reason.TOO_MANY_PIXELS),
        (lambda: gif((65_535, 65_535), (10, 10)), Reason.TOO_MANY_PIXELS),
        (lambda: gif((10, 10), (65_535, 2_000)), Reason.TOO_MANY_PIXELS),
        (lambda: HUGE_WEBP, Reason.TOO_MANY_PIXELS),
        (huge_tiff, Reason.TOO_MANY_PIXELS),
        (lambda: png(8, 8, SMALL_PIXELS, *TEXT), Reason.TOO_MANY_BYTES),
        (lambda: png(8, 8, SMALL_PIXELS, *MANY_TEXTS), Reason.TOO_MANY_BYTES),
        (lambda: png(8, 8, SMALL_PIXELS, *PROFILE), Reason.TOO_MANY_BYTES),
    ],
    ids=["png", "gif canvas", "gif frame", "webp", "tiff", "text", "texts", "profile"],
)
def test_bombs_are_refused_at_once_and_without_their_pixels(
    make: Callable[[], bytes], reason: Reason, tmp_path: Path
) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(make())
    assert file.stat().st_size < 5_000_000
    body = """
start = time.perf_counter()
try:
    read_image(data, ImageSpec(224))
except ImageError as error:
    print(json.dumps([error.reason.code, time.perf_counter() - start, peak() - before]))
"""
    found, seconds, grown = in_a_process(body, file)
    assert found == reason.code
    assert seconds < 1  # takes milliseconds; decoding would take several seconds
    assert grown < 100_000_000  # the pixels would take several hundred megabytes or more


def test_limits_are_what_the_caller_says() -> None:
    data = solid_png(1000)
    assert read_image(data, SPEC, Limits(max_pixels=1_000_000)).shape == (32, 32, 3)
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC, Limits(max_pixels=999_999))
    assert str(error.value) == "too_many_pixels: 1000 × 1000 pixels, the limit is 999,999"


def test_a_higher_limit_than_pillows_own_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = encoded(Image.new("RGB", (100, 100)), "PNG")
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC, Limits(max_pixels=2000))
    assert error.value.reason is Reason.TOO_MANY_PIXELS
    assert read_image(data, SPEC, Limits(max_pixels=20_000)).shape == (32, 32, 3)


def test_a_large_picture_takes_little_more_memory_than_its_pixels(tmp_path: Path) -> None:
    side = 8_000
    line = zlib.compress((b"\0" + b"\1" * side) * side, 1)
    palette = chunk(b"PLTE", b"\0\0\0\xff\0\0") + chunk(b"tRNS", b"\0\x80")
    (tmp_path / "large.png").write_bytes(png(side, side, line, palette, color_type=3))
    body = """
assert tuple(read_image(data, ImageSpec(224))[100, 100]) == (255, 127, 127)
print(peak() - before)
"""
    grown = in_a_process(body, tmp_path / "large.png")
    assert grown < 2 * side * side  # converting all rows at once would take nine bytes per pixel


@pytest.mark.parametrize("rule", RESIZE_RULES)
def test_a_palette_that_is_missing_does_not_end_the_run(rule: str) -> None:
    """Pillow opens an image whose palette is missing, and fails only when it converts the image."""
    data = png(8, 8, zlib.compress((b"\0" + bytes(range(8))) * 8), color_type=3)
    with pytest.raises(ImageError) as error:
        read_image(data, ImageSpec(8, rule))
    assert error.value.reason is Reason.CORRUPT


WHOLE = encoded(Image.fromarray(QUARTERS.repeat(4, 0).repeat(4, 1)), "JPEG", quality=95)
NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
NOISE_PNG = encoded(Image.fromarray(NOISE), "PNG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"<html>404</html>", Reason.UNKNOWN_FORMAT),
        (b"\0" * 100, Reason.UNKNOWN_FORMAT),
        (WHOLE[: len(WHOLE) // 2], Reason.TRUNCATED),
        (NOISE_PNG[: len(NOISE_PNG) // 2], Reason.TRUNCATED),
        (NOISE_PNG[:3000] + b"\0" * 500 + NOISE_PNG[3500:], Reason.CORRUPT),
        (b"\xff\xd8\xff\xe0rest", Reason.TRUNCATED),
        (solid_png(20_000), Reason.TOO_MANY_PIXELS),
        (encoded(Image.new("RGB", (1, 1)), "GIF"), Reason.TOO_SMALL),
    ],
)
def test_what_gives_no_picture_gives_a_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC)
    assert error.value.reason is reason


@pytest.mark.parametrize("tail", [b"", bytes(4000), b"\xff\xd9"], ids=["cut", "zeros", "end marker"])
def test_a_jpeg_that_was_cut_never_gives_half_a_picture(tail: bytes, drawn: Path) -> None:
    for options in ({}, {"restart_marker_rows": 1}, {"subsampling": 0}):
        data = encoded(Image.open(drawn / "hat/00.jpg"), "JPEG", **options)
        for part in range(20, 100, 5):
            with pytest.raises(ImageError) as error:
                read_image(data[: len(data) * part // 100] + tail, SPEC)
            assert error.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("tail", [b"", bytes(4000)], ids=["cut", "zeros"])
@pytest.mark.parametrize("lost", [6, 50, 0.1, 0.5])
def test_a_progressive_jpeg_that_was_cut_is_refused(lost: float, tail: bytes, drawn: Path) -> None:
    data = encoded(Image.open(drawn / "hat/00.jpg"), "JPEG", progressive=True, quality=90)
    kept = len(data) - int(lost if lost > 1 else lost * len(data))
    assert outcome(data[:kept] + tail) is Reason.TRUNCATED


@pytest.mark.parametrize(
    "trailer", [b"", b"\xff", b"\0" * 100, b"SEFT panorama", b"\xff\xd8\xff\xe1\0\4ab\xff\xda\0\2\xff\xd9"], ids=repr
)
def test_a_jpeg_without_its_end_marker_is_whole(trailer: bytes, drawn: Path) -> None:
    """Some programs cut the marker off, and some phones write their own data in its place."""
    for options in ({}, {"restart_marker_rows": 1}, {"subsampling": 0}, {"progressive": True}):
        data = encoded(Image.open(drawn / "hat/00.jpg"), "JPEG", **options)
        assert data.endswith(b"\xff\xd9")
        np.testing.assert_array_equal(read_image(data[:-2] + trailer, SPEC), read_image(data, SPEC))


@pytest.mark.parametrize("side", [64, 96, 160])
def test_a_jpeg_that_lacks_a_few_bytes_is_right_in_all_but_its_last_block(side: int) -> None:
    """With Huffman tables optimized for the image, a few zero bytes after the cut would decode to many blocks."""
    pixels = np.full((side, side), 255, np.uint8)
    pixels[-side // 3 :, side // 3 :] = 60
    pixels[-side // 4 :, -side // 2 :] = 120
    data = encoded(Image.fromarray(pixels), "JPEG", quality=75, optimize=True)
    whole = read_thumbnail(data, side).astype(int)
    refused = 0
    for cut in range(14):
        found = outcome(data[: len(data) - 2 - cut], read=lambda cut: read_thumbnail(cut, side))
        if isinstance(found, Reason):
            assert found is Reason.TRUNCATED
            refused += 1
        else:
            off = np.abs(found - whole).max(-1)
            off[-16:, -16:] = 0
            assert off.max() <= 1, cut
    assert refused >= 8


def test_a_png_with_many_damaged_remarks_takes_no_longer() -> None:
    remark = struct.pack(">I", 2) + b"tEXt" + b"a\0" + b"\1\2\3\4"
    data = NOISE_PNG[:33] + remark * 200_000 + NOISE_PNG[33:]
    start = time.monotonic()
    np.testing.assert_array_equal(read_image(data, SPEC), read_image(NOISE_PNG, SPEC))
    assert time.monotonic() - start < 5  # a quadratic version took minutes


@pytest.mark.parametrize("kind", [b"tEXt", b"iTXt", b"tIME", b"pHYs", b"vpAg", b"caBX", b"iDOT", b"sBIT"])
def test_a_png_with_a_damaged_remark_is_read(kind: bytes) -> None:
    remark = struct.pack(">I", 9) + kind + b"a\0comment" + b"\1\2\3\4"
    np.testing.assert_array_equal(
        read_image(NOISE_PNG[:33] + remark + NOISE_PNG[33:], SPEC), read_image(NOISE_PNG, SPEC)
    )
    np.testing.assert_array_equal(
        read_image(NOISE_PNG[:-12] + remark + NOISE_PNG[-12:], SPEC), read_image(NOISE_PNG, SPEC)
    )


@pytest.mark.parametrize("kind", [b"tRNS", b"iCCP", b"cICP", b"gAMA"])
def test_a_png_with_a_damaged_chunk_that_affects_its_pixels_is_corrupt(kind: bytes) -> None:
    damaged = struct.pack(">I", 4) + kind + b"\0\0\1\1" + b"\1\2\3\4"
    with pytest.raises(ImageError) as error:
        read_image(NOISE_PNG[:33] + damaged + NOISE_PNG[33:], SPEC)
    assert error.value.reason is Reason.CORRUPT


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\x10\xb0", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "Photoshop's PSD"),
        (b"<?xml version='1.0'?>\n<svg xmlns=", "SVG"),
    ],
)
def test_image_formats_that_are_not_read_are_named(start: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"^unknown_format: {name} is not supported: convert it to JPEG or PNG$"):
        read_image(start + bytes(100), SPEC)


@pytest.mark.parametrize(
    ("start", "words"),
    [(b"\n<!DOCTYPE html><html>", "an HTML page, not an image: check"), (b"\0\0\0 ftypisom", "a video, not an image")],
)
def test_other_files_are_named(start: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=f"^unknown_format: {words}"):
        read_image(start + bytes(100), SPEC)


def bmp(
    bits: int, compression: int, masks: tuple[int, ...], header: int, pixel: Callable[[int, int, int], bytes]
) -> bytes:
    """Build a BMP of `QUARTERS` in one of the variants that programs write."""
    rows = [b"".join(pixel(*map(int, color)) for color in row) for row in QUARTERS[::-1]]
    data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    head = struct.pack("<IiiHHIIiiII", header, 64, 64, 1, bits, compression, len(data), 2835, 2835, 0, 0)
    head += b"".join(struct.pack("<I", mask) for mask in masks)
    head += bytes(max(0, header - len(head)))
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(data), 0, 0, 14 + len(head)) + head + data


PLAIN = Image.fromarray(QUARTERS)
REPORTED = {
    "BMP of GIMP, alpha in the first byte": bmp(
        32, 3, (0xFF000000, 0xFF0000, 0xFF00, 0xFF), 124, lambda r, g, b: bytes((255, b, g, r))
    ),
    "BMP whose fourth bytes are empty": bmp(32, 0, (), 40, lambda r, g, b: bytes((b, g, r, 0))),
    "BMP, 5-6-5": bmp(
        16, 3, (0xF800, 0x7E0, 0x1F), 40, lambda r, g, b: struct.pack("<H", r >> 3 << 11 | g >> 2 << 5 | b >> 3)
    ),
    "BMP, 5-5-5": bmp(16, 0, (), 40, lambda r, g, b: struct.pack("<H", r >> 3 << 10 | g >> 3 << 5 | b >> 3)),
    "JPEG in RGB": encoded(PLAIN, "JPEG", keep_rgb=True, quality=95),
    "JPEG in CMYK": encoded(PLAIN.convert("CMYK"), "JPEG", quality=95),
    "JPEG followed by another JPEG": encoded(PLAIN, "JPEG", quality=95) + encoded(Image.new("RGB", (64, 64)), "JPEG"),
    "MPO of a phone": encoded(PLAIN, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))], quality=95),
    "progressive JPEG": encoded(PLAIN, "JPEG", progressive=True, quality=95),
    "PNG of 2 bits": encoded(PLAIN.quantize(4), "PNG", bits=2),
    "PNG followed by zeros": encoded(PLAIN, "PNG") + bytes(1000),
    "interlaced GIF": encoded(PLAIN.quantize(4), "GIF", interlace=1),
    "BigTIFF": encoded(PLAIN, "TIFF", big_tiff=True),
    "lossless WebP with alpha": encoded(PLAIN.convert("RGBA"), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", REPORTED)
def test_files_that_other_tools_are_reported_to_get_wrong(name: str) -> None:
    np.testing.assert_allclose(quarter_means(read_image(REPORTED[name], SPEC)), EXPECTED, atol=8)


HEIC = (REPOSITORY / "tests/data/quarters.heic").read_bytes()


def test_heic_is_read_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_allclose(quarter_means(read_image(HEIC, SPEC)), EXPECTED, atol=4)
    assert read_thumbnail(HEIC, 64).shape == (64, 64, 3)
    before, mark, after = HEIC.partition(b"nclx")
    linear = read_image(before + mark + struct.pack(">HH", 1, 8) + after[4:], SPEC)
    np.testing.assert_allclose(quarter_means(linear), EXPECTED, atol=16)
    for part in range(5, 100, 5):
        found = outcome(HEIC[: len(HEIC) * part // 100])
        assert found in (Reason.CORRUPT, Reason.TRUNCATED, Reason.UNKNOWN_FORMAT), part
    with pytest.raises(ImageError) as error:
        read_image(HEIC, SPEC, Limits(max_pixels=4000))
    assert error.value.reason is Reason.TOO_MANY_PIXELS
    monkeypatch.setattr("catalogue.images.formats._can_read_heic", lambda: False)
    with pytest.raises(ImageError, match=r"HEIC needs the extra heif: pip install -e '\.\[heif\]'") as error:
        read_image(HEIC, SPEC)
    assert error.value.reason is Reason.UNKNOWN_FORMAT


def outcome(
    data: bytes, read: Callable[[bytes], np.ndarray] = lambda data: read_image(data, SPEC)
) -> np.ndarray | Reason:
    try:
        return read(data)
    except ImageError as error:
        return error.reason


WAYS = {
    "progressive": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "JPEG in TIFF": ("TIFF", {"compression": "jpeg"}),
    "AVIF": ("AVIF", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_file_that_was_cut_gives_half_a_picture(way: str, drawn: Path) -> None:
    format_, options = WAYS[way]
    data = encoded(Image.open(drawn / "hat/00.jpg"), format_, **options)
    whole = read_image(data, SPEC).astype(int)
    reasons = set()
    for part in range(1, 100):
        found = outcome(data[: len(data) * part // 100])
        if isinstance(found, Reason):
            reasons.add(found)
        else:
            assert np.abs(found - whole).max() <= 1, part
    assert reasons <= {Reason.TRUNCATED, Reason.CORRUPT}
    assert reasons


def test_a_png_with_one_bit_changed_is_corrupt() -> None:
    data = bytearray(NOISE_PNG)
    data[len(data) - 100] ^= 1  # near the end: all but the last line would decode
    with pytest.raises(ImageError) as error:
        read_image(bytes(data), SPEC)
    assert error.value.reason is Reason.CORRUPT


def test_a_jpeg_made_to_be_slow_is_refused() -> None:
    data = encoded(Image.fromarray(QUARTERS), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    start = time.perf_counter()
    with pytest.raises(ImageError) as error:
        read_image(data[:-2] + data[scan:-2] * 5000 + data[-2:], SPEC)
    assert (error.value.reason, time.perf_counter() - start < 1) == (Reason.CORRUPT, True)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (Image.DecompressionBombError("too large"), Reason.TOO_MANY_PIXELS),
        (MemoryError(), Reason.TOO_MANY_PIXELS),
        (SyntaxError("no header"), Reason.CORRUPT),
        (struct.error("unpack"), Reason.CORRUPT),
        (OverflowError("int"), Reason.CORRUPT),
        (EOFError(), Reason.TRUNCATED),
        (OSError("Truncated File Read"), Reason.TRUNCATED),
    ],
    ids=repr,
)
def test_what_pillow_raises_becomes_a_reason(
    raised: Exception, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_image: ImageFile.ImageFile) -> None:
        raise raised

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(ImageError) as error:
        read_image(WHOLE, SPEC)
    assert error.value.reason is reason


def test_faults_of_our_own_are_not_taken_for_broken_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_rgb(*_: object) -> Image.Image:
        raise ValueError("a fault")

    monkeypatch.setattr(colors, "to_rgb", to_rgb)
    with pytest.raises(ValueError, match="a fault"):
        read_image(WHOLE, SPEC)


@pytest.mark.parametrize("keyword", ["xmp", "XML:com.adobe.xmp", "icc_profile", "transparency", "exif", "dpi", "gamma"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16"])
def test_a_text_of_a_png_may_have_any_name(keyword: str, mode: str) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text(keyword, "hello")
    picture = Image.fromarray(QUARTERS).convert("L" if mode == "I;16" else mode)
    plain = picture.convert(mode) if mode == "I;16" else picture
    image = read_image(encoded(plain, "PNG", pnginfo=texts), SPEC)
    np.testing.assert_array_equal(image, read_image(encoded(plain, "PNG"), SPEC))


@pytest.mark.parametrize("value", ["profile", 7, (1, 2)])
def test_a_profile_tag_of_a_tiff_that_holds_no_profile_is_ignored(value: object) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[34675] = value
    tags.tagtype[34675] = TiffTags.ASCII if isinstance(value, str) else TiffTags.LONG
    data = encoded(Image.fromarray(QUARTERS), "TIFF", tiffinfo=tags)
    np.testing.assert_allclose(quarter_means(read_image(data, SPEC)), EXPECTED, atol=1)


def test_running_out_of_memory_while_shrinking_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_rgb(*_: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(colors, "to_rgb", to_rgb)
    with pytest.raises(ImageError) as error:
        read_image(WHOLE, SPEC)
    assert error.value.reason is Reason.TOO_MANY_PIXELS


def test_a_large_jpeg_is_scaled_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def noting(image: ImageFile.ImageFile) -> object:
        loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", noting)
    data = encoded(Image.new("RGB", (1600, 1200)), "JPEG")
    for rule, size in (("stretch", (200, 150)), ("crop", (200, 150)), ("pad", (200, 150))):
        read_image(data, ImageSpec(96, rule))
        assert loaded[-1] == size, rule


def test_fuzz(tmp_path: Path) -> None:
    words = [sys.executable, "tests/fuzz_images.py", "--count", "2000", "--keep", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["outcomes"]["picture"] > 100


def test_limit_of_bytes() -> None:
    with pytest.raises(ImageError) as error:
        read_image(WHOLE, SPEC, Limits(max_bytes=len(WHOLE) - 1))
    assert error.value.reason is Reason.TOO_MANY_BYTES
    assert read_image(WHOLE, SPEC, Limits(max_bytes=len(WHOLE))).shape == (32, 32, 3)


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Reason.EMPTY, "0 bytes")))
    assert (error.reason, str(error)) == (Reason.EMPTY, "empty: 0 bytes")


@pytest.mark.parametrize(("size", "rule"), [(0, "stretch"), (224, "squash")])
def test_spec_refuses_nonsense(size: int, rule: str) -> None:
    with pytest.raises(ValueError, match=r"too small|unknown resize rule"):
        ImageSpec(size, rule)
