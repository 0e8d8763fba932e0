"""Reads the orientation from EXIF data even if other entries are damaged. Pillow gives up at the first damaged entry.

Source: EXIF 3.0; for PNG files older than the ``eXIf`` chunk, the text chunks of ImageMagick.
"""

from __future__ import annotations

import struct

_ORIENTATION, _INTEGERS = 0x112, {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}
_PREFIX = b"Exif\0\0"
_MAX_ENTRIES = 4096


def orientation(data: bytes) -> int | None:
    """Return the orientation, from 1 to 8, in EXIF data; None if it is missing or invalid."""
    while data.startswith(_PREFIX):  # some programs write the prefix twice
        data = data[len(_PREFIX) :]
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for number in range(min(count, _MAX_ENTRIES)):
            place = start + 2 + 12 * number
            tag, kind, length = struct.unpack_from(f"{order}HHI", data, place)
            if tag == _ORIENTATION and kind in _INTEGERS and 1 <= length * struct.calcsize(_INTEGERS[kind]) <= 4:
                (found,) = struct.unpack_from(f"{order}{_INTEGERS[kind]}", data, place + 8)
                return found if 1 <= found <= 8 else None
    except struct.error:  # the directory is cut off
        pass
    return None


def from_text(text: str) -> bytes:
    """Return the EXIF data from a text chunk of ImageMagick, which has a name, a length and hexadecimal digits.

    The result is empty if the digits are damaged.
    """
    try:
        return bytes.fromhex("".join(text.strip().split("\n")[2:]))
    except ValueError:
        return b""
