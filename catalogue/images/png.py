"""PNG files before they are decoded: the checksums and the colours in their chunks.

Source: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from catalogue.images.cicp import CodePoints, Conversion, conversion_of, conversion_of_gamma
from catalogue.reasons import ImageError, Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that say nothing of the pixels, and come to grief in programs that edit what is around them.
_REMARKS = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"hIST", b"sPLT", b"bKGD")


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
    found = [chunk for chunk in _chunks(data) if chunk.kind in _REMARKS and chunk.end <= len(data)]
    for chunk in reversed(found):
        if not _is_sound(data, chunk):
            data = data[: chunk.start] + data[chunk.end :]
    return data


def conversion(data: bytes) -> Conversion | None:
    """The way from the file's colours to sRGB, as its chunks say; None if it has none, or an embedded profile.

    ``cICP`` goes before the profile, that before ``sRGB``, and that before ``gAMA`` and ``cHRM``.

    Raises:
        ImageError: colours that are not supported.
    """
    found: dict[bytes, bytes] = {}
    for chunk in _chunks(data):
        if chunk.kind == b"IDAT":
            break
        found.setdefault(chunk.kind, data[chunk.start + 8 : chunk.data_end])
    points = found.get(b"cICP", b"")
    if len(points) == 4:
        return conversion_of(CodePoints(points[0], points[1], bool(points[3])))
    gamma = found.get(b"gAMA", b"")
    if b"iCCP" in found or b"sRGB" in found or len(gamma) != 4:
        return None
    numbers = [int.from_bytes(found.get(b"cHRM", b"")[at : at + 4], "big") / 100_000 for at in range(0, 32, 4)]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    chromaticities = (pairs[0], pairs[1], pairs[2], pairs[3]) if all(y for _, y in pairs) else None
    return conversion_of_gamma(int.from_bytes(gamma, "big") / 100_000, chromaticities)
