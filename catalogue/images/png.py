"""PNG files before they are decoded: the checksums and the colours in their chunks.

Source: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from catalogue.images.cicp import CodePoints, Conversion, conversion_of_gamma
from catalogue.reasons import ImageError, Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What the picture looks like depends on these; all other chunks with a small first letter are remarks.
_OF_PIXELS = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"eXIf")
_ANCILLARY = 0x20
_LEAST_GAMMA, _MOST_GAMMA = 16, 625_000_000  # those that libpng takes, in hundred thousandths


class _Chunk(NamedTuple):
    """A chunk: its type, and where it, its data and its checksum begin and end."""

    kind: bytes
    start: int
    data_end: int
    end: int


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
    """Checks what Pillow does not: the checksums of the chunks that hold the pixels. Raises ImageError."""
    for chunk in _chunks(data):
        if chunk.kind == b"IDAT" and len(data) > chunk.data_end and not _is_sound(data, chunk):
            cut = len(data) < chunk.end
            raise ImageError(Reason.TRUNCATED if cut else Reason.CORRUPT, "a checksum does not fit its chunk")


def without_damaged_remarks(data: bytes) -> bytes:
    """The file without the texts and the like whose checksums do not fit, for which Pillow would refuse all of it."""
    sound, position = [], 0
    for chunk in _chunks(data):
        is_remark = chunk.kind[0] & _ANCILLARY and chunk.kind not in _OF_PIXELS
        if is_remark and chunk.end <= len(data) and not _is_sound(data, chunk):
            sound.append(data[position : chunk.start])
            position = chunk.end
    return b"".join([*sound, data[position:]]) if sound else data


def code_points(data: bytes) -> CodePoints | None:
    """The colours by ``cICP``, which goes before an embedded profile; None without it."""
    points = _before_pixels(data).get(b"cICP", b"")
    return CodePoints(points[0], points[1], bool(points[3])) if len(points) == 4 else None


def gamma_conversion(data: bytes) -> Conversion | None:
    """The way to sRGB by ``gAMA`` and ``cHRM``; None without them, and where a profile or ``sRGB`` goes before them."""
    found = _before_pixels(data)
    gamma = int.from_bytes(found.get(b"gAMA", b""), "big")
    if b"iCCP" in found or b"sRGB" in found or not _LEAST_GAMMA <= gamma <= _MOST_GAMMA:
        return None
    numbers = [int.from_bytes(found.get(b"cHRM", b"")[at : at + 4], "big") / 100_000 for at in range(0, 32, 4)]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    chromaticities = (pairs[0], pairs[1], pairs[2], pairs[3]) if all(y for _, y in pairs) else None
    return conversion_of_gamma(gamma / 100_000, chromaticities)


def _before_pixels(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each type before the pixels."""
    found: dict[bytes, bytes] = {}
    for chunk in _chunks(data):
        if chunk.kind == b"IDAT":
            break
        found.setdefault(chunk.kind, data[chunk.start + 8 : chunk.data_end])
    return found
