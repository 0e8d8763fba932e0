from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from trainer.preprocessing import ImageError, ImageSpec, Limits, Reason, read_image, read_thumbnail

SPEC = ImageSpec(32)
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
    """The mean colours of the inner parts of the four quarters: [4, 3]."""
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
def test_colour_modes_give_the_same_picture(mode: str) -> None:
    format_ = "JPEG" if mode == "CMYK" else "PNG"
    image = read_image(encoded(Image.fromarray(QUARTERS).convert(mode), format_), SPEC)
    np.testing.assert_allclose(quarter_means(image), EXPECTED, atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(QUARTERS)
    stored = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }.get(orientation, [])
    for method in stored:
        upright = upright.transpose(method)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = read_image(encoded(upright, "JPEG", exif=exif, quality=95), SPEC)
    np.testing.assert_allclose(quarter_means(image), EXPECTED, atol=12)


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
    assert np.abs(read_image(data, ImageSpec(64)) - plain).mean() < 1.5


def test_thumbnail_keeps_the_shape() -> None:
    assert read_thumbnail(encoded(Image.new("RGB", (300, 100)), "JPEG"), 60).shape == (20, 60, 3)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", body)
    )


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
        (png_header(30_000, 30_000), Reason.TOO_MANY_PIXELS),
        (encoded(Image.new("RGB", (1, 1)), "GIF"), Reason.TOO_SMALL),
    ],
)
def test_what_gives_no_picture_gives_a_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC)
    assert error.value.reason is reason


def test_limit_of_bytes() -> None:
    with pytest.raises(ImageError) as error:
        read_image(WHOLE, SPEC, Limits(max_bytes=len(WHOLE) - 1))
    assert error.value.reason is Reason.TOO_MANY_BYTES
    assert read_image(WHOLE, SPEC, Limits(max_bytes=len(WHOLE))).shape == (32, 32, 3)


def outcome(data: bytes) -> tuple[int, ...] | Reason:
    try:
        return read_image(data, SPEC).shape
    except ImageError as error:
        return error.reason


def test_odd_images_end_as_a_picture_or_a_reason(shared: Path) -> None:
    outcomes = {}
    for file in sorted((shared / "datasets/odd-images").iterdir()):
        outcomes[file.name] = outcome(file.read_bytes())
    assert outcomes["truncated_jpeg.jpg"] is Reason.TRUNCATED
    assert outcomes["broken_data_stream.png"] is Reason.CORRUPT  # its first lines decode: never half a picture
    assert outcomes["decompression_bomb.gif"] is Reason.TOO_MANY_PIXELS
    assert outcomes["LICENSE"] is Reason.UNKNOWN_FORMAT
    assert sum(outcome == (32, 32, 3) for outcome in outcomes.values()) >= 55


def test_orientations_of_real_photos_are_one_picture(shared: Path) -> None:
    files = sorted((shared / "datasets/odd-images").glob("hopper_orientation_*.jpg"))
    pictures = [read_image(file.read_bytes(), ImageSpec(64)).astype(int) for file in files]
    assert len(pictures) == 7
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).mean() < 3


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Reason.EMPTY, "0 bytes")))
    assert (error.reason, str(error)) == (Reason.EMPTY, "empty: 0 bytes")


@pytest.mark.parametrize(("size", "rule"), [(0, "stretch"), (224, "squash")])
def test_spec_refuses_nonsense(size: int, rule: str) -> None:
    with pytest.raises(ValueError, match=r"too small|unknown resize rule"):
        ImageSpec(size, rule)
