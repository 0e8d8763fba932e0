"""Detects TIFFs that Pillow does not decode correctly, and rewrites or rejects them. Part of the image policy.

A TIFF can store its samples in hundreds of ways. Pillow rejects some, and silently decodes a few wrongly.
`tests/catalogue/images/test_tiff.py` tests each kind that tifffile can write.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection
from typing import NamedTuple

from PIL import Image

from catalogue.images import tiff_samples
from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason

# Tags and values of TIFF 6.0, its Technical Notes, and DNG 1.7.
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 258, 259, 262, 277, 284
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUB_IFDS, _DNG_VERSION = 338, 339, 330, 50706
_COLOR_MAP, _TILE_WIDTH, _TILE_HEIGHT = 320, 322, 323
_GREY, _RGB, _CMYK, _YCBCR = (0, 1), 2, 5, 6
_UNCOMPRESSED, _SEPARATE, _REDUCED, _UNASSOCIATED_ALPHA = 1, 2, 1, 2
_UNSIGNED, _SIGNED, _UNTYPED = 1, 2, 4
_KIND_TAGS = (
    _SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUB_IFDS,
    _DNG_VERSION, _TILE_WIDTH, _TILE_HEIGHT,
)  # fmt: skip
# none, CCITT (three codes), LZW, JPEG (two codes), Deflate, PackBits, old Deflate, LZMA, Zstandard
_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
_EXTRAS = {1: "associated alpha", 2: "alpha"}
_PHOTOMETRICS = {
    0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "ICC Lab",
    10: "ITU Lab", 32803: "color filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
_FORMATS = {1: "", 2: " signed", 3: " floating-point", 4: " untyped", 5: " complex", 6: " complex"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS, _MOST_NUMBERS = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}, 16
_RATIONAL = 5


class _Kind(NamedTuple):
    """Sample layout of a TIFF."""

    bits: tuple[int, ...]
    sample_format: int
    photometric: int
    compression: int
    is_separate: bool
    extra_samples: tuple[int, ...]
    tile_pixels: int

    def __str__(self) -> str:
        name = _PHOTOMETRICS.get(self.photometric, f"photometric interpretation {self.photometric}")
        bits = "/".join(map(str, sorted(set(self.bits))))
        parts = [f"{bits}-bit{_FORMATS.get(self.sample_format, '')} {name}"]
        parts += [_EXTRAS.get(extra, "extra samples") for extra in self.extra_samples]
        parts += ["separate planes"] if self.is_separate else []
        parts += ["uncompressed" if self.compression == _UNCOMPRESSED else f"compression {self.compression}"]
        return ", ".join(parts)


def is_decoded_wrongly(data: bytes, limits: Limits) -> bool:
    """Return whether Pillow would decode a TIFF wrongly.

    Raises:
        ImageError: the file is a camera raw file, is crafted to use up memory, or has tiles above the limits.
    """
    kind = _kind(data)
    if kind and kind.tile_pixels > limits.max_pixels:
        raise ImageError(
            Reason.TOO_MANY_PIXELS, f"a tile has {kind.tile_pixels:,} pixels, the limit is {limits.max_pixels:,}"
        )
    return kind is not None and not _is_decoded_right(kind)


def scale_palette(image: Image.Image) -> None:
    """Correct the palette of a decoded TIFF if its writer stored 8-bit values in it instead of 16-bit values."""
    values = getattr(image, "tag_v2", {}).get(_COLOR_MAP, ())
    if image.mode == "P" and values and max(values) < 256:
        count = len(values) // 3
        colors = zip(values[:count], values[count : 2 * count], values[2 * count :], strict=False)
        image.putpalette(bytes(itertools.chain.from_iterable(colors)))


def rewritten(data: bytes, limits: Limits) -> bytes:
    """Rewrite a TIFF that Pillow rejects or decodes wrongly as a TIFF that Pillow decodes correctly.

    Raises:
        ImageError: this kind of TIFF is not supported, the file is damaged, or the image is too large.
        Exception: raised by Pillow for damaged data, see `catalogue.images.formats.BROKEN_FILE`.
    """
    kind, tags = _kind(data), _tags(data, tiff_samples.TAGS, tiff_samples.MAX_NUMBERS)
    if not kind or not tags:
        raise ImageError(Reason.CORRUPT, "the header is damaged")
    if kind.sample_format not in (_UNSIGNED, _UNTYPED) or not tiff_samples.can_decode(tags):
        raise ImageError(Reason.UNSUPPORTED, f"this kind of TIFF is not supported: {kind}")
    return tiff_samples.decoded(data, tags, limits, is_separate=kind.is_separate)


def _is_decoded_right(kind: _Kind) -> bool:
    if kind.sample_format == _SIGNED or kind.compression not in _COMPRESSIONS:
        return False
    if kind.photometric == _YCBCR and (kind.extra_samples or kind.compression == _UNCOMPRESSED):
        return False
    if kind.is_separate and kind.photometric in _GREY:
        return False
    if kind.is_separate and kind.compression == _UNCOMPRESSED:
        is_plain = kind.photometric in (_RGB, _CMYK) and kind.extra_samples in ((), (_UNASSOCIATED_ALPHA,))
        return is_plain and set(kind.bits) == {8}
    return True


def _kind(data: bytes) -> _Kind | None:
    """Return the sample layout of a TIFF; None if its header is damaged.

    Raises:
        ImageError: the file is a camera raw file, whose first image is only a thumbnail, or it is crafted to use up
            memory.
    """
    tags = _tags(data, _KIND_TAGS, _MOST_NUMBERS)
    if not tags:
        return None
    if _DNG_VERSION in tags or (_SUB_IFDS in tags and tags.get(_SUBFILE, (0,))[0] == _REDUCED):
        raise ImageError(Reason.UNSUPPORTED, "a camera raw file, such as DNG or NEF: export it as JPEG or TIFF")
    return _Kind(
        bits=tuple(map(int, tags.get(_BITS, (1,)))),
        sample_format=int(max(tags.get(_SAMPLE_FORMAT, (1,)))),
        photometric=int(tags.get(_PHOTOMETRIC, (-1,))[0]),
        compression=int(tags.get(_COMPRESSION, (_UNCOMPRESSED,))[0]),
        is_separate=tags.get(_PLANAR, (1,))[0] == _SEPARATE and tags.get(_SAMPLES, (1,))[0] > 1,
        extra_samples=tuple(map(int, tags.get(_EXTRA_SAMPLES, ()))),
        tile_pixels=int(tags.get(_TILE_WIDTH, (0,))[0] * tags.get(_TILE_HEIGHT, (0,))[0]),
    )


def _tags(data: bytes, wanted: Collection[int], most: int) -> dict[int, tuple[float, ...]]:
    """Return the numbers in tags of the first directory; an empty dict if the directory is damaged.

    Args:
        data: content of the file.
        wanted: tags to return.
        most: maximum count of numbers to return for each tag.

    Raises:
        ImageError: the tags together claim more bytes than the file has; Pillow would allocate memory for each tag.
    """
    order = "<" if data[:2] == b"II" else ">"
    is_big = b"+" in data[2:4]
    entry, word = (f"{order}HHQ", 8) if is_big else (f"{order}HHI", 4)
    try:
        (at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, 8 if is_big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, at)
        at += 8 if is_big else 2
        tags: dict[int, tuple[float, ...]] = {}
        claimed = 0
        for _ in range(count):
            tag, kind, length = struct.unpack_from(entry, data, at)
            size, place = length * _TYPE_BYTES.get(kind, 0), at + struct.calcsize(entry)
            if size > word:
                (place,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, place)
                claimed += size
            if claimed > len(data):
                raise ImageError(Reason.CORRUPT, "the tags claim more bytes than the file has")
            if tag in wanted and kind in _NUMBERS and length:
                tags[tag] = struct.unpack_from(f"{order}{min(length, most)}{_NUMBERS[kind]}", data, place)
            elif tag in wanted and kind == _RATIONAL and length:
                pairs = struct.unpack_from(f"{order}{2 * min(length, most)}I", data, place)
                tags[tag] = tuple(above / max(1, below) for above, below in zip(pairs[::2], pairs[1::2], strict=True))
            at += struct.calcsize(entry) + word
    except (struct.error, OverflowError):
        return {}
    return tags
