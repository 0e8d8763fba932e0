"""Every way to store samples in a TIFF that tifffile can write: each is decoded correctly or refused as unsupported."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, TiffImagePlugin

from catalogue.images.formats import open_image
from catalogue.images.reader import read_image
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec, Limits
from catalogue.reasons import ImageError, Reason

SIDE = 32
SPEC = ImageSpec(SIDE, "stretch")
Y, X = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
RGB = 0.1 + 0.8 * np.stack([X, Y, (1 - X) * (1 - Y)], -1)
GREY = np.repeat((0.1 + 0.8 * X)[..., None], 3, -1)
ALPHA = np.where(Y < 0.5, 1.0, 0.6)[..., None]

PHOTOMETRICS = ("minisblack", "miniswhite", "rgb", "separated", "ycbcr")
FORMATS = ("u1", "u2", "u4", "u8", "u10", "u12", "u16", "u32", "i8", "i16", "i32", "f16", "f32", "f64")
COMPRESSIONS = (None, "lzw", "adobe_deflate", "packbits", "jpeg", "zstd")
EXTRAS = (None, "unassalpha", "assocalpha", "unspecified")


def samples(photometric: str, extra: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of a picture, from 0 to 1, and the picture composited over white."""
    picture = GREY if photometric.startswith("minis") else RGB
    if photometric == "separated":
        values = np.concatenate([1 - RGB, np.zeros((SIDE, SIDE, 1))], -1)
    elif photometric == "ycbcr":
        luma = RGB @ (0.299, 0.587, 0.114)
        values = np.stack([luma, (RGB[..., 2] - luma) / 1.772 + 0.5, (RGB[..., 0] - luma) / 1.402 + 0.5], -1)
    else:
        values = picture[..., :1] if photometric.startswith("minis") else picture
        values = 1 - values if photometric == "miniswhite" else values
    if extra:
        own = np.ones_like(ALPHA) if extra == "unspecified" else ALPHA
        values = np.concatenate([values * own if extra == "assocalpha" else values, own], -1)
        picture = picture * own + (1 - own)
    return values, picture


def quantized(values: np.ndarray, kind: str) -> np.ndarray:
    bits = int(kind[1:])
    if kind[0] == "f":
        return values.astype(f"f{bits // 8}")
    top = 2**bits - 1 if kind[0] == "u" else 2 ** (bits - 1) - 1
    return np.rint(values * top).astype(f"{kind[0]}{1 if bits <= 8 else 2 if bits <= 16 else 4}")


def tiff(
    photometric: str, planar: str, kind: str, compression: str | None, extra: str | None, **layout: Any
) -> bytes | None:
    """Build a TIFF; None if tifffile does not write this kind."""
    if compression == "jpeg" and kind != "u8":
        return None
    values, _ = samples(photometric, extra)
    data, bits = quantized(values, kind), int(kind[1:])
    options: dict[str, Any] = {"photometric": photometric, "compression": compression, "metadata": None, **layout}
    form = {name: options.pop(name) for name in ("byteorder", "bigtiff") if name in options}
    if extra:
        options["extrasamples"] = [extra]
    if bits not in (8, 16, 32, 64):
        options["bitspersample"] = bits
    data = data.astype(bool) if bits == 1 else data
    if data.shape[-1] == 1:
        data = data[..., 0]
        if planar == "separate":
            return None
    else:
        options["planarconfig"] = planar
        data = np.moveaxis(data, -1, 0) if planar == "separate" else data
    buffer = io.BytesIO()
    try:
        tifffile.imwrite(buffer, data, **options, **form)
    except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError):
        return None
    return buffer.getvalue()


@pytest.mark.parametrize("photometric", PHOTOMETRICS)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_each_kind_of_tiff_is_decoded_right_or_refused_as_not_supported(photometric: str, planar: str) -> None:
    decoded, wrong = 0, []
    for kind, compression, extra in itertools.product(FORMATS, COMPRESSIONS, EXTRAS):
        data = tiff(photometric, planar, kind, compression, extra)
        if data is None:
            continue
        try:
            found = read_image(data, SPEC) / 255
        except ImageError as error:
            if error.reason is not Reason.UNSUPPORTED:
                wrong.append((kind, compression, extra, str(error)))
            continue
        decoded += 1
        _, expected = samples(photometric, extra)
        if kind == "u1":
            expected = np.rint(expected)
        steps = 2.0 ** min(8, int(kind[1:])) - 1
        limit = 0.5 / steps + 0.02 + 0.08 * (compression == "jpeg") + 0.15 * (photometric == "separated")
        off = float(np.abs(found - expected).max())
        if off > limit:
            wrong.append((kind, compression, extra, f"off by {off:.2f}"))
    assert not wrong
    assert decoded


COMMON = [
    ("minisblack", "contig", "u8", None, None), ("minisblack", "contig", "u16", "lzw", None),
    ("rgb", "contig", "u8", None, None), ("rgb", "contig", "u8", "lzw", "unassalpha"),
    ("rgb", "contig", "u16", None, None), ("rgb", "separate", "u8", None, None),
    ("rgb", "separate", "u16", "adobe_deflate", None), ("separated", "contig", "u8", "lzw", None),
    ("ycbcr", "contig", "u8", "jpeg", None), ("ycbcr", "separate", "u8", None, None),
    ("minisblack", "contig", "u16", "lzw", "unassalpha"), ("rgb", "separate", "u16", None, None),
    ("separated", "contig", "u8", "lzw", "unassalpha"), ("separated", "contig", "u16", None, "unassalpha"),
]  # fmt: skip


@pytest.mark.parametrize("kind", COMMON, ids=str)
def test_common_kinds_are_decoded(kind: tuple[str, str, str, str | None, str | None]) -> None:
    data = tiff(*kind)
    assert data is not None
    read_image(data, SPEC)


LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips of 5 rows": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "tiles larger than the image": {"tile": (48, 48)},
    "big-endian": {"byteorder": ">", "rowsperstrip": 7},
    "BigTIFF": {"bigtiff": True},
    "big-endian BigTIFF": {"bigtiff": True, "byteorder": ">", "tile": (16, 16)},
}
REWRITTEN = [
    ("minisblack", "contig", "u16", "unassalpha"), ("miniswhite", "separate", "u8", "assocalpha"),
    ("rgb", "separate", "u16", None), ("rgb", "separate", "u16", "assocalpha"),
    ("separated", "contig", "u8", "unassalpha"), ("separated", "contig", "u16", "assocalpha"),
    ("separated", "separate", "u16", "unassalpha"),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", REWRITTEN, ids=str)
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_kinds_without_a_pillow_mode_in_each_layout(
    kind: tuple[str, str, str, str | None], layout: str, compression: str | None
) -> None:
    photometric, planar, depth, extra = kind
    _, expected = samples(photometric, extra)
    limit = 0.15 if photometric == "separated" else 0.02
    for predictor in {None, True} if compression else {None}:
        data = tiff(photometric, planar, depth, compression, extra, predictor=predictor, **LAYOUTS[layout])
        assert data is not None
        np.testing.assert_allclose(read_image(data, SPEC) / 255, expected, atol=limit)
        for size in range(len(data) - 1, 200, -max(1, len(data) // 7)):
            with pytest.raises(ImageError) as error:
                read_image(data[:size], SPEC)
            assert error.value.reason in (Reason.CORRUPT, Reason.TRUNCATED)


def test_cmyk_with_alpha_has_its_profile_and_orientation() -> None:
    values, _ = samples("separated", None)
    inks = quantized(values, "u8")
    opaque = np.concatenate([inks, np.full((SIDE, SIDE, 1), 255, np.uint8)], -1)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = []
    for pixels, extra in ((inks, None), (opaque, [2])):
        buffer = io.BytesIO()
        tags = [(274, 3, 1, 6, True), (34675, 7, len(profile), profile, True)]
        tifffile.imwrite(
            buffer,
            pixels,
            photometric="separated",
            planarconfig="contig",
            extrasamples=extra,
            extratags=tags,
            metadata=None,
        )
        found.append(read_image(buffer.getvalue(), SPEC))
        with open_image(buffer.getvalue(), DEFAULT_LIMITS) as image:
            assert image.info["icc_profile"] == profile
    np.testing.assert_array_equal(found[0], found[1])
    picture = Image.fromarray(inks, "CMYK").convert("RGB").transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(found[1], np.asarray(picture))


def test_large_images_are_refused_before_they_are_decoded() -> None:
    data = tiff("separated", "contig", "u8", None, "unassalpha")
    assert data is not None
    with pytest.raises(ImageError, match=r"32 × 32 pixels, the limit is 1,000$") as error:
        read_image(data, SPEC, Limits(max_pixels=1000))
    assert error.value.reason is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("planar", ["separate", "contig"])
def test_samples_that_are_not_used_cost_nothing(planar: str) -> None:
    """A file may claim thousands of planes that all start at the same offset."""
    for count, reason in ((9, None), (200, Reason.UNSUPPORTED)):
        pixels = np.zeros((8, 8, count), np.uint8)
        pixels[..., 0] = 200
        buffer = io.BytesIO()
        arranged = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
        extra = ["unspecified"] * (count - 1)
        tifffile.imwrite(buffer, arranged, photometric="minisblack", planarconfig=planar, extrasamples=extra)
        if reason is None:
            assert (read_image(buffer.getvalue(), SPEC) == 200).all()
        else:
            with pytest.raises(ImageError) as error:
                read_image(buffer.getvalue(), SPEC)
            assert error.value.reason is reason


def test_a_large_strip_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strip may have four samples for each pixel of the limit. Pillow counts the 48,000 samples as pixels."""
    buffer, pixels = io.BytesIO(), np.zeros((300, 32, 5), np.uint8)
    tifffile.imwrite(buffer, pixels, photometric="separated", planarconfig="contig", extrasamples=["unassalpha"])
    with pytest.raises(ImageError, match="too_many_pixels: one of the strips or tiles is too large"):
        read_image(buffer.getvalue(), SPEC, Limits(max_pixels=11_999))
    read_image(buffer.getvalue(), SPEC, Limits(max_pixels=12_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with pytest.raises(ImageError, match="too_many_pixels: one of the strips or tiles is too large"):
        read_image(buffer.getvalue(), SPEC, Limits(max_pixels=20_000))
    assert (read_image(buffer.getvalue(), SPEC, Limits(max_pixels=48_000)) == 255).all()


def test_what_is_not_supported_is_described() -> None:
    data = tiff("rgb", "contig", "f32", None, "unassalpha")
    assert data is not None
    with pytest.raises(ImageError) as error:
        read_image(data, SPEC)
    words = "this kind of TIFF is not supported: 32-bit floating-point RGB, alpha, uncompressed"
    assert error.value.message == words


@pytest.mark.parametrize("missing", [273, 279, 256, 277])
def test_tags_that_contradict_each_other_are_corrupt(missing: int) -> None:
    data = tiff("separated", "contig", "u8", None, "unassalpha")
    assert data is not None
    entry = data.index(struct.pack("<H", missing), 8)
    with pytest.raises(ImageError) as error:
        read_image(data[:entry] + struct.pack("<H", 65000) + data[entry + 2 :], SPEC)
    assert error.value.reason is Reason.CORRUPT


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}], ids=["DNG", "NEF"])
def test_raw_files_of_cameras_are_refused(tags: dict[int, Any]) -> None:
    """The first image in a raw file is a thumbnail."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
        directory.tagtype[tag] = 1 if isinstance(value, bytes) else 4
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "TIFF", tiffinfo=directory)
    with pytest.raises(ImageError, match="raw file") as error:
        read_image(buffer.getvalue(), SPEC)
    assert error.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("size", [4, 8, 12, 40, 100])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_header_that_leads_nowhere_is_corrupt(size: int, order: str) -> None:
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + b"\xff" * 100
    with pytest.raises(ImageError) as error:
        read_image(data[:size], SPEC)
    assert error.value.reason in (Reason.CORRUPT, Reason.TRUNCATED)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_that_claim_more_than_the_file_has_are_refused_at_once(order: str) -> None:
    """Pillow would read the size claimed by each tag: here 400 times four megabytes."""
    size, count = 4 << 20, 400
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, count)
    data += b"".join(struct.pack(f"{order}HHII", 60_000 + tag, 7, size, 0) for tag in range(count))
    with pytest.raises(ImageError, match="claim more bytes than the file has") as error:
        read_image(data + bytes(size), SPEC)
    assert error.value.reason is Reason.CORRUPT


def test_big_endian_bigtiff_is_not_called_damaged() -> None:
    buffer = io.BytesIO()
    pixels = np.zeros((16, 16, 3), np.float32)
    tifffile.imwrite(buffer, pixels, photometric="rgb", bigtiff=True, byteorder=">")
    with pytest.raises(ImageError) as error:
        read_image(buffer.getvalue(), SPEC)
    assert error.value.reason is Reason.UNSUPPORTED


def test_a_palette_of_8_bits_is_scaled() -> None:
    """Some programs store 8-bit palette values, such as 200 instead of 200 * 257."""
    colors = np.zeros((3, 256), np.uint16)
    colors[0] = 200
    for factor in (1, 257):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.zeros((8, 8), np.uint8), photometric="palette", colormap=colors * factor)
        assert (read_image(buffer.getvalue(), SPEC) == (200, 0, 0)).all()


def test_compressions_that_pillow_lacks_are_not_supported() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((16, 16, 3), np.uint8), photometric="rgb", compression="webp")
    with pytest.raises(ImageError) as error:
        read_image(buffer.getvalue(), SPEC)
    assert error.value.reason is Reason.UNSUPPORTED
