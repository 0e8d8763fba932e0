"""Reads the color description and crop of the primary image, both ignored by Pillow, from AVIF and HEIC headers.

Source: ISO/IEC 14496-12 (boxes and the locations of items), 23008-12 (items and their properties), 23000-22 (the order
of properties).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

from catalogue.images import av1
from catalogue.images.cicp import CodePoints, Conversion, conversion_of
from catalogue.reasons import ImageError, Reason

Box = tuple[int, int, int, int]

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_MAX_BRAND_BYTES = 512


def format_of(data: bytes) -> str | None:
    """Return Pillow's name for the format of a file, ``AVIF`` or ``HEIF``; None for other files."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), _MAX_BRAND_BYTES)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIC else None


def with_major_brand(data: bytes) -> bytes:
    """Return an AVIF file with a major brand that Pillow knows; brands such as ``mif1`` do not name the codec."""
    return data if data[8:12] in _AVIF else data[:8] + b"avif" + data[12:]


def is_truncated(data: bytes) -> bool:
    """Return whether the last box of an AVIF or HEIC file extends beyond the end of the file."""
    position = 0
    while format_of(data) and position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # zero: up to the end of the file
            return False
        position += size
    return position > len(data)


def conversion(data: bytes) -> Conversion | None:
    """Return the conversion to sRGB for the code points in the ``nclx`` box or, without one, in the AV1 stream.

    Returns:
        The conversion; None if the colors are sRGB or unspecified, or if the file has an embedded profile.

    Raises:
        ImageError: the code points are not supported.
    """
    colors = [body for kind, body in _properties(data) if kind == b"colr"]
    if any(body[:4] in (b"prof", b"rICC") for body in colors):
        return None
    box = next((body for body in colors if body[:4] == b"nclx" and len(body) >= 10), None)
    points = CodePoints(*struct.unpack(">HH", box[4:8])) if box else av1.code_points(_first_tile(data))
    return conversion_of(points) if points else None


def crop(data: bytes, width: int, height: int) -> Box | None:
    """Return the clean aperture (``clap``) as left, top, right and bottom; None if the whole image is visible.

    Raises:
        ImageError: the clean aperture is invalid, or its edges are outside the image or not on whole pixels.
    """
    body = next((body for kind, body in _properties(data) if kind == b"clap" and len(body) >= 32), None)
    if body is None:
        return None
    numbers = struct.unpack(">IIIIiIiI", body[:32])
    try:
        wide, high, right, down = (Fraction(numbers[at], numbers[at + 1]) for at in range(0, 8, 2))
    except ZeroDivisionError as error:
        raise ImageError(Reason.CORRUPT, "the clean aperture (clap) has a zero denominator") from error
    left, top = (width - wide) / 2 + right, (height - high) / 2 + down
    edges = (left, top, left + wide, top + high)
    if any(edge.denominator != 1 for edge in edges):
        raise ImageError(Reason.UNSUPPORTED, "the edges of the clean aperture (clap) are not on whole pixels")
    found = (int(left), int(top), int(left + wide), int(top + high))
    if not (0 <= found[0] < found[2] <= width and 0 <= found[1] < found[3] <= height):
        raise ImageError(Reason.CORRUPT, "the clean aperture (clap) is not within the image")
    return None if found == (0, 0, width, height) else found


def _properties(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the type and body of each property of the primary image; an empty list if a box cannot be parsed."""
    try:
        meta = _meta(data)
        item = _primary(meta)
        inner = list(_boxes(meta[b"iprp"]))
        properties = list(_boxes(dict(inner)[b"ipco"]))
        indices = [index for kind, body in inner if kind == b"ipma" for index in _indices(body, item)]
        return [properties[index - 1] for index in indices if 0 < index <= len(properties)]
    except (KeyError, IndexError, struct.error):  # Pillow reports the damage
        return []


def _first_tile(data: bytes) -> bytes:
    """Return the first extent of the AV1 stream of the primary image, or of the first tile if the image is a grid.

    The result is empty if there is no such stream, as in HEIC, which uses another codec.
    """
    try:
        meta = _meta(data)
        item = _primary(meta)
        if b"iref" in meta:
            item = next(_tiles(meta[b"iref"], item), item)
        if b"av01" not in meta[b"iinf"]:
            return b""
        return next((data[start:end] for own, start, end in _locations(meta[b"iloc"]) if own == item), b"")
    except (KeyError, IndexError, struct.error):  # Pillow reports the damage
        return b""


def _meta(data: bytes) -> dict[bytes, bytes]:
    """Return the boxes in the ``meta`` box, by type. Raises KeyError if there is no ``meta`` box."""
    return dict(_boxes(dict(_boxes(data))[b"meta"][4:]))


def _primary(meta: dict[bytes, bytes]) -> int:
    """Return the ID of the primary item. Raises KeyError if the header does not name one."""
    body = meta[b"pitm"]
    return int.from_bytes(body[4:6] if body[0] == 0 else body[4:8], "big")


def _tiles(references: bytes, item: int) -> Iterator[int]:
    """Yield the IDs of the items that an item is derived from, given the body of the ``iref`` box."""
    size = 4 if references[0] else 2
    for kind, body in _boxes(references[4:]):
        if kind == b"dimg" and int.from_bytes(body[:size], "big") == item:
            numbers = body[size + 2 :]
            yield from (int.from_bytes(numbers[at : at + size], "big") for at in range(0, len(numbers), size))


def _locations(body: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield ID, start and end of the first extent of each item that is located by file offset.

    Args:
        body: body of the ``iloc`` box.
    """
    version, position = body[0], 6
    offset_size, length_size, base_size, index_size = (body[4 + n // 2] >> (4, 0)[n % 2] & 15 for n in range(4))

    def number(size: int) -> int:
        nonlocal position
        position += size
        if position > len(body):
            raise IndexError
        return int.from_bytes(body[position - size : position], "big")

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item = number(wide)
        is_in_file = not version or number(2) & 15 == 0
        number(2)  # data_reference_index
        base, parts = number(base_size), number(2)
        sizes = (index_size if version else 0, offset_size, length_size)
        if parts:
            _, offset, length = map(number, sizes)
            position += (parts - 1) * sum(sizes)
            if is_in_file:
                yield item, base + offset, base + offset + length


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else position + size
        if end < start:
            return
        yield kind, data[start:end]
        position = end


def _indices(body: bytes, item: int) -> Iterator[int]:
    """Yield the property indices of an item, counted from one, given the body of an ``ipma`` box."""
    has_long_ids, has_long_indices = body[0] > 0, bool(body[3] & 1)
    (entries,) = struct.unpack_from(">I", body, 4)
    position = 8
    for _ in range(entries):
        size = 4 if has_long_ids else 2
        own = int.from_bytes(body[position : position + size], "big")
        position += size
        count = body[position]
        position += 1
        for _ in range(count):
            width = 2 if has_long_indices else 1
            index = int.from_bytes(body[position : position + width], "big") & (0x7FFF if has_long_indices else 0x7F)
            position += width
            if own == item:
                yield index
