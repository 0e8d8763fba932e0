"""Decodes kinds of TIFF that Pillow rejects or decodes wrongly, such as CMYK with alpha. Part of the image policy.

Pillow decodes any number of samples per pixel if the file declares each sample as a pixel of a wider gray image. Groups
of strips or tiles are decoded in this way, and their samples are combined into an image that Pillow has a mode for.

Source: TIFF 6.0 and its Technical Notes.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason

Tags = Mapping[int, tuple[float, ...]]
"""Numbers in the tags of a TIFF directory, by tag."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PREDICTOR = 273, 277, 278, 279, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_ORIENTATION, _INK_SET, _EXTRA_SAMPLES, _ICC_PROFILE = 274, 332, 338, 34675
_COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 529, 530, 532
TAGS = (
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP,
    _STRIP_BYTES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _ORIENTATION, _INK_SET,
    _EXTRA_SAMPLES, _ICC_PROFILE, _COEFFICIENTS, _SUBSAMPLING, _REFERENCE,
)  # fmt: skip
"""Tags that `can_decode` and `decoded` need."""
MAX_NUMBERS = 1 << 22
"""Maximum count of numbers in a tag, such as the bytes of a color profile or the offsets of strips."""
_LONG, _UNDEFINED = 4, 7
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, _YCBCR = 0, 1, 2, 5, 6
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4, _YCBCR: 3}
_LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, Deflate, PackBits, old Deflate, LZMA, Zstandard
_ASSOCIATED, _UNASSOCIATED = 1, 2
_HORIZONTAL = 2
_DEFAULT_COEFFICIENTS, _DEFAULT_REFERENCE = (0.299, 0.587, 0.114), (0, 255, 128, 255, 128, 255)
_CMYK_INKS = 1
_GROUP_SAMPLES, _BAND_ROWS = 1 << 20, 64
_MAX_SAMPLES, _SAMPLES_PER_PIXEL = 16, 4
_TOO_LARGE = "one of the strips or tiles is too large to decode: save the image with smaller ones"


class _Layout(NamedTuple):
    """Layout of the samples of an image in its file.

    Attributes:
        width, height: size of the image in pixels.
        across, down: size in pixels of a segment, which is a strip or a tile.
        planes: number of planes; 1 if the samples of a pixel follow one another.
        samples: number of samples of a pixel in each plane.
        offsets, lengths: offsets and lengths of the segments in bytes, ordered by plane, then by row, then by column.
        is_tiled: whether the segments are tiles.
    """

    width: int
    height: int
    across: int
    down: int
    planes: int
    samples: int
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    is_tiled: bool


def can_decode(tags: Tags) -> bool:
    """Return whether `decoded` supports a TIFF with these tags: 8-bit or 16-bit integers without lossy compression.

    Colors must be gray, RGB or CMYK, or YCbCr with 8 bits, no subsampling and default coefficients. The caller checks
    that the integers are unsigned.
    """
    bits, photometric = set(tags.get(_BITS, (1,))), _first(tags, _PHOTOMETRIC, -1)
    if bits not in ({8}, {16}) or photometric not in _COLORS or _first(tags, _FILL_ORDER, 1) != 1:
        return False
    if _first(tags, _SAMPLES, 1) > _MAX_SAMPLES:
        return False
    if _first(tags, _COMPRESSION, 1) not in _LOSSLESS or _first(tags, _INK_SET, _CMYK_INKS) != _CMYK_INKS:
        return False
    if photometric != _YCBCR:
        return True
    return (
        bits == {8}
        and _EXTRA_SAMPLES not in tags
        and tags.get(_SUBSAMPLING) == (1, 1)
        and _are_near(tags.get(_COEFFICIENTS), _DEFAULT_COEFFICIENTS, 0.001)
        and _are_near(tags.get(_REFERENCE), _DEFAULT_REFERENCE, 1)
    )


def decoded(data: bytes, tags: Tags, limits: Limits, *, is_separate: bool) -> bytes:
    """Convert a TIFF to an uncompressed TIFF with 8 bits per sample, composited over white if it has alpha.

    Args:
        data: content of the TIFF file.
        tags: numbers in the file's `TAGS`, for which `can_decode` returns true.
        limits: limits beyond which images are rejected.
        is_separate: whether each sample has a plane of its own.

    Raises:
        ImageError: the file is damaged or truncated, or the image is too large.
        Exception: raised by Pillow for damaged data, see `catalogue.images.formats.BROKEN_FILE`.
    """
    layout = _layout(tags, is_separate=is_separate)
    width, height = layout.width, layout.height
    if width * height > limits.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} × {height} pixels, the limit is {limits.max_pixels:,}")
    if layout.across * layout.down * layout.samples > _SAMPLES_PER_PIXEL * limits.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, _TOO_LARGE)
    photometric = _first(tags, _PHOTOMETRIC, -1)
    colors, alpha = _COLORS[photometric], _first(tags, _EXTRA_SAMPLES, 0)
    used = colors + (alpha in (_ASSOCIATED, _UNASSOCIATED))
    picture = np.empty((height, width, colors), np.uint8)
    group = layout.down * math.ceil(_GROUP_SAMPLES / (width * layout.samples * layout.down))
    for top in range(0, height, group):
        bottom = min(top + group, height)
        planes = [_gray_pixels(data, tags, layout, plane, top, bottom) for plane in range(min(layout.planes, used))]
        for start in range(top, bottom, _BAND_ROWS):
            end = min(start + _BAND_ROWS, bottom)
            parts = [_samples(plane, tags, layout, start - top, end - top, used) for plane in planes]
            picture[start:end] = _over_white(np.concatenate(parts, axis=-1), colors, photometric, alpha)
    return _plain(picture, data, tags)


def _first(tags: Tags, tag: int, default: int) -> int:
    return int(tags.get(tag, (default,))[0])


def _are_near(values: tuple[float, ...] | None, usual: tuple[float, ...], tolerance: float) -> bool:
    """Return whether numbers are missing or close to the usual numbers."""
    return not values or (len(values) == len(usual) and np.allclose(values, usual, atol=tolerance))


def _layout(tags: Tags, *, is_separate: bool) -> _Layout:
    """Return the layout. Raises ImageError if the tags are invalid or contradict each other."""
    width, height, samples = _first(tags, _WIDTH, 0), _first(tags, _HEIGHT, 0), _first(tags, _SAMPLES, 1)
    is_tiled = _TILE_OFFSETS in tags
    if is_tiled:
        across, down = _first(tags, _TILE_WIDTH, 0), _first(tags, _TILE_HEIGHT, 0)
    else:
        across, down = width, min(_first(tags, _ROWS_PER_STRIP, height), height)
    if min(width, height, across, down) < 1 or samples < _COLORS[_first(tags, _PHOTOMETRIC, -1)]:
        raise ImageError(Reason.CORRUPT, "the header is damaged")
    names = (_TILE_OFFSETS, _TILE_BYTES) if is_tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    offsets, lengths = (tuple(map(int, tags.get(name, ()))) for name in names)
    planes = samples if is_separate else 1
    count = planes * math.ceil(width / across) * math.ceil(height / down)
    if not len(offsets) == len(lengths) == count:
        raise ImageError(Reason.CORRUPT, f"the file has {len(offsets)} strips or tiles, but its size requires {count}")
    return _Layout(width, height, across, down, planes, samples // planes, offsets, lengths, is_tiled)


def _gray_pixels(data: bytes, tags: Tags, layout: _Layout, plane: int, top: int, bottom: int) -> Image.Image:
    """Decode rows `top` to `bottom` of a plane as a gray image, in which each sample is a pixel.

    The gray image is therefore `layout.samples` times as wide. A horizontal predictor stores each sample as its
    difference from the same sample of the previous pixel. Pillow undoes this if the plane has one sample per pixel;
    otherwise `_samples` does.
    """
    columns = math.ceil(layout.width / layout.across)
    first = (plane * math.ceil(layout.height / layout.down) + top // layout.down) * columns
    segments = []
    for number in range(first, first + columns * math.ceil((bottom - top) / layout.down)):
        start, length = layout.offsets[number], layout.lengths[number]
        if start + length > len(data):
            raise ImageError(Reason.TRUNCATED, "the file ends before the image data is complete")
        segments.append(data[start : start + length])
    values: dict[int, tuple[int, ...]] = {
        _WIDTH: (layout.width * layout.samples,),
        _HEIGHT: (bottom - top,),
        _BITS: (_first(tags, _BITS, 1),),
        _COMPRESSION: (_first(tags, _COMPRESSION, 1),),
        _PHOTOMETRIC: (_BLACK_IS_ZERO,),
        _SAMPLES: (1,),
        _PREDICTOR: (_first(tags, _PREDICTOR, 1) if layout.samples == 1 else 1,),
    }
    if layout.is_tiled:
        values |= {_TILE_WIDTH: (layout.across * layout.samples,), _TILE_HEIGHT: (layout.down,)}
    else:
        values |= {_ROWS_PER_STRIP: (layout.down,)}
    try:
        gray = Image.open(io.BytesIO(_file(_order(data), values, segments)), formats=["TIFF"])
        gray.load()
    except Image.DecompressionBombError as error:  # from Pillow, which counts each sample as a pixel
        raise ImageError(Reason.TOO_MANY_PIXELS, _TOO_LARGE) from error
    return gray


def _samples(gray: Image.Image, tags: Tags, layout: _Layout, top: int, bottom: int, used: int) -> np.ndarray:
    """Return rows `top` to `bottom` of a result of `_gray_pixels`, with at most `used` samples of each pixel.

    Returns:
        uint8 [rows, width, samples].
    """
    pixels = np.asarray(gray.crop((0, top, gray.width, bottom)))
    rows = pixels.reshape(bottom - top, layout.width, layout.samples)[..., :used]
    if layout.samples > 1 and _first(tags, _PREDICTOR, 1) == _HORIZONTAL:
        parts = [rows[:, left : left + layout.across] for left in range(0, layout.width, layout.across)]
        rows = np.concatenate([np.cumsum(part, axis=1, dtype=part.dtype) for part in parts], axis=1)
    if rows.dtype == np.uint8:
        return rows
    return ((rows.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _order(data: bytes) -> str:
    """Return the byte order of a TIFF, as in the format strings of `struct`."""
    return "<" if data[:2] == b"II" else ">"


def _file(order: str, values: Mapping[int, tuple[int, ...] | bytes], segments: Sequence[bytes]) -> bytes:
    """Return a TIFF file.

    Args:
        order: byte order, see `_order`.
        values: values of the tags, except the offsets and lengths of the segments.
        segments: tiles if `values` has a tile width, strips otherwise.
    """
    lengths = tuple(map(len, segments))
    names = (_TILE_OFFSETS, _TILE_BYTES) if _TILE_WIDTH in values else (_STRIP_OFFSETS, _STRIP_BYTES)
    start = 8 + 2 + 12 * (len(values) + len(names)) + 4  # after the header and the directory
    size = sum(len(own) * (1 if isinstance(own, bytes) else 4) for own in values.values()) + 8 * len(segments)
    offsets = tuple(itertools.accumulate(lengths[:-1], initial=start + size))
    directory, after = b"", b""
    for tag, numbers in sorted({**values, names[0]: offsets, names[1]: lengths}.items()):
        kind, code = (_UNDEFINED, "B") if isinstance(numbers, bytes) else (_LONG, "I")
        content = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(content) > 4:
            content, after = struct.pack(f"{order}I", start + len(after)), after + content
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(values) + len(names))
    return b"".join([header, directory, bytes(4), after.ljust(size, b"\0"), *segments])


def _over_white(band: np.ndarray, colors: int, photometric: int, alpha: int) -> np.ndarray:
    """Composite pixels over white.

    Args:
        band: uint8 [rows, width, samples].
        colors: number of color samples per pixel.
        photometric: value of the tag ``PhotometricInterpretation``.
        alpha: first value of the tag ``ExtraSamples``; 0 if the tag is missing.

    Returns:
        uint8 [rows, width, colors], where zero is black, or no ink for CMYK.
    """
    values = band[..., :colors]
    if photometric == _YCBCR:
        return np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))
    if alpha in (_ASSOCIATED, _UNASSOCIATED) and band.shape[-1] > colors:
        opacity = band[..., colors : colors + 1].astype(np.uint16)
        covered = values.astype(np.uint16)
        if alpha == _UNASSOCIATED:
            covered = (covered * opacity + 127) // 255
        paper = 0 if photometric in (_CMYK, _WHITE_IS_ZERO) else 255 - opacity
        values = (covered + paper).clip(0, 255).astype(np.uint8)
    return 255 - values if photometric == _WHITE_IS_ZERO else values


def _plain(picture: np.ndarray, data: bytes, tags: Tags) -> bytes:
    """Return a picture as a TIFF with the byte order, orientation and color profile of the original TIFF.

    Args:
        picture: uint8 [height, width, colors].
        data: content of the original TIFF.
        tags: numbers in the tags of the original TIFF.
    """
    height, width, colors = picture.shape
    values: dict[int, tuple[int, ...] | bytes] = {
        _WIDTH: (width,),
        _HEIGHT: (height,),
        _BITS: (8,) * colors,
        _COMPRESSION: (1,),
        _PHOTOMETRIC: ({1: _BLACK_IS_ZERO, 3: _RGB, 4: _CMYK}[colors],),
        _SAMPLES: (colors,),
        _ROWS_PER_STRIP: (height,),
        _ORIENTATION: (_first(tags, _ORIENTATION, 1),),
    }
    if _ICC_PROFILE in tags:
        values[_ICC_PROFILE] = bytes(map(int, tags[_ICC_PROFILE]))
    return _file(_order(data), values, [picture.tobytes()])
