"""Reads PNG chunks: verifies checksums, removes chunks that Pillow does not need, and reads code points and gamma.

Source: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from catalogue.images.cicp import CodePoints, Conversion, conversion_of_gamma
from catalogue.reasons import ImageError, Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks, whose types begin with a lowercase letter, that affect the pixels. The others are only metadata.
_OF_PIXELS = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"eXIf")
_ANCILLARY = 0x20
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_NEEDED_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
_COLOR_TYPE, _PALETTE, _MAX_COLORS = 25, b"\3", 256  # position of the color type in a file, and its value for a palette
_TRANSPARENT_BYTES = {0: 2, 2: 6}  # size of tRNS, by color type
_LEAST_GAMMA, _MOST_GAMMA = 16, 625_000_000  # range that libpng accepts, in units of 1/100,000


class _Chunk(NamedTuple):
    """A chunk: its type, and the offsets of its start, the end of its data and the end of its checksum."""

    kind: bytes
    start: int
    data_end: int
    end: int

    @property
    def size(self) -> int:
        """Size of the chunk's data in bytes."""
        return self.data_end - self.start - 8


def _chunks(data: bytes) -> Iterator[_Chunk]:
    position = len(SIGNATURE)
    while len(header := data[position : position + 8]) == 8:
        end = position + 8 + int.from_bytes(header[:4], "big")
        yield _Chunk(header[4:], position, end, end + 4)
        position = end + 4


def _is_sound(data: bytes, chunk: _Chunk) -> bool:
    checksum = zlib.crc32(data[chunk.start + 4 : chunk.data_end]).to_bytes(4, "big")
    return data[chunk.data_end : chunk.end] == checksum


def check_sums(data: bytes) -> None:
    """Raise ImageError if the checksum of a chunk with pixels is wrong. Pillow does not verify these checksums."""
    for chunk in _chunks(data):
        if chunk.kind == b"IDAT" and len(data) > chunk.data_end and not _is_sound(data, chunk):
            cut = len(data) < chunk.end
            raise ImageError(Reason.TRUNCATED if cut else Reason.CORRUPT, "the checksum of a chunk is wrong")


def without_remarks(data: bytes) -> bytes:
    """Remove the chunks that Pillow does not need, because it rejects files for damage in any chunk.

    Damaged chunks that affect the pixels stay, so that Pillow rejects the file. Intact chunks that only `code_points`
    and `gamma_conversion` use are removed, since these functions read the original file.

    Raises:
        ImageError: the file is in Apple's format for apps, or needs a palette that is missing or damaged.
    """
    kept, position = [], 0
    needs_palette = data[_COLOR_TYPE : _COLOR_TYPE + 1] == _PALETTE
    for chunk in _chunks(data):
        if chunk.kind == b"CgBI":
            raise ImageError(Reason.UNSUPPORTED, "PNG in Apple's format for apps (CgBI): convert it to a standard PNG")
        if chunk.kind == b"PLTE" and chunk.size > 0 and chunk.size % 3 == 0:
            needs_palette = False
        if chunk.kind == b"IDAT" and needs_palette:
            raise ImageError(Reason.CORRUPT, "the palette is missing or damaged")
        if chunk.end <= len(data) and not _is_needed(data, chunk):
            kept.append(data[position : chunk.start])
            position = chunk.end
    return b"".join([*kept, data[position:]]) if kept else data


def _is_needed(data: bytes, chunk: _Chunk) -> bool:
    if not chunk.kind[0] & _ANCILLARY:
        return True
    if not _is_sound(data, chunk):
        return chunk.kind in _OF_PIXELS
    content = data[chunk.start + 8 : chunk.data_end]
    if chunk.kind == b"tRNS":
        count = _TRANSPARENT_BYTES.get(data[_COLOR_TYPE])
        return len(content) == count if count else 0 < len(content) <= _MAX_COLORS
    if chunk.kind in _TEXTS:
        return content.startswith(_NEEDED_TEXTS)
    return chunk.kind in (b"iCCP", b"eXIf")


def code_points(data: bytes) -> CodePoints | None:
    """Return the code points in ``cICP``, which override an embedded profile; None if it is missing or malformed."""
    points = _before_pixels(data).get(b"cICP", b"")
    return CodePoints(points[0], points[1], bool(points[3])) if len(points) == 4 else None


def gamma_conversion(data: bytes) -> Conversion | None:
    """Return the conversion for ``gAMA`` and ``cHRM``.

    None if there is ``iCCP`` or ``sRGB``, if ``gAMA`` is missing or out of range, or if the values are close to sRGB or
    invalid.
    """
    found = _before_pixels(data)
    gamma = int.from_bytes(found.get(b"gAMA", b""), "big")
    if b"iCCP" in found or b"sRGB" in found or not _LEAST_GAMMA <= gamma <= _MOST_GAMMA:
        return None
    numbers = [int.from_bytes(found.get(b"cHRM", b"")[at : at + 4], "big") / 100_000 for at in range(0, 32, 4)]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    chromaticities = (pairs[0], pairs[1], pairs[2], pairs[3]) if all(y for _, y in pairs) else None
    return conversion_of_gamma(gamma / 100_000, chromaticities)


def _before_pixels(data: bytes) -> dict[bytes, bytes]:
    """Return the data of the first chunk of each type before the pixels."""
    found: dict[bytes, bytes] = {}
    for chunk in _chunks(data):
        if chunk.kind == b"IDAT":
            break
        found.setdefault(chunk.kind, data[chunk.start + 8 : chunk.data_end])
    return found
