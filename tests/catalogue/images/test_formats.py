"""Files whose brands or first bytes are unusual or misleading."""

from __future__ import annotations

import io
import random
import struct
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from catalogue.images import formats
from catalogue.images.reader import read_image
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec, Limits
from catalogue.reasons import ImageError, Reason
from demo import draw

SPEC = ImageSpec(32, "stretch")
PICTURE = draw.draw("dress", random.Random(3))


def avif(brand: bytes) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "AVIF")
    data = buffer.getvalue()
    assert data[8:12] == b"avif"
    return data[:8] + brand + data[12:]


def reason_of(data: bytes) -> Reason:
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC)
    return error.value.reason


@pytest.mark.parametrize("brand", [b"mif1", b"miaf", b"MA1B"])
def test_an_avif_is_recognized_by_any_of_its_brands(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_can_read_heic", lambda: False)
    np.testing.assert_array_equal(read_image(avif(brand), SPEC), read_image(avif(b"avif"), SPEC))
    assert reason_of(avif(brand)[:500]) is Reason.TRUNCATED


@pytest.mark.parametrize(
    "part", [b"<!--[if IE]><![endif]-->\n", b"<!DOCTYPE svg>\n", b"<!-- ", b"<?xml ", b" ", b"<!DOCTYPE svg "]
)
def test_pages_with_many_comments_are_refused_at_once(part: bytes) -> None:
    start = time.perf_counter()
    assert reason_of(part * 10_000 + b"<p>404</p>") is Reason.UNKNOWN_FORMAT
    assert time.perf_counter() - start < 1  # 30 comments once took minutes


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_svg_and_html_are_named(mark: bytes) -> None:
    svg = b"<?xml version='1.0'?>\n<!-- a --><!-- b -->\n<svg>"
    for data, words in ((svg, "SVG is not supported"), (b" <!DOCTYPE html>", "an HTML page, not an image")):
        with pytest.raises(ImageError, match=f"^unknown_format: {words}"):
            read_image(mark + data, SPEC)


def test_sounds_and_videos_are_not_truncated_pictures() -> None:
    for kind in (b"WAVEfmt ", b"AVI LIST"):
        assert reason_of(b"RIFF" + struct.pack("<I", 90_000) + kind + bytes(200)) is Reason.UNKNOWN_FORMAT


def test_a_webp_may_have_a_third_of_the_pixels() -> None:
    """To decode a WebP, Pillow holds four copies of its pixels: a file of 38 bytes took 1.5 GB."""
    buffer = io.BytesIO()
    Image.new("RGBA", (100, 100), (9, 99, 199, 128)).save(buffer, "WEBP", lossless=True)
    assert read_image(buffer.getvalue(), SPEC, Limits(max_pixels=30_000)).shape == (32, 32, 3)
    with pytest.raises(ImageError) as error:
        read_image(buffer.getvalue(), SPEC, Limits(max_pixels=29_999))
    assert str(error.value) == "too_many_pixels: 100 × 100 pixels, the limit for WebP is 9,999"


def test_a_large_tile_in_a_small_tiff_is_refused() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((64, 64, 3), np.uint8), photometric="rgb", tile=(64, 64))
    data = buffer.getvalue()
    for tag in (322, 323):
        at = max(data.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4)) + 8
        data = data[:at] + struct.pack("<I", 20_000) + data[at + 4 :]
    for limits, shown in ((DEFAULT_LIMITS, "100,000,000"), (Limits(max_pixels=399_999_999), "399,999,999")):
        with pytest.raises(ImageError) as error:
            read_image(data, SPEC, limits)
        assert str(error.value) == f"too_many_pixels: a tile has 400,000,000 pixels, the limit is {shown}"
