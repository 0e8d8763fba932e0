"""Reads the orientation from EXIF data. Pillow gives up at the first damaged entry, even of another tag.

Source: EXIF 3.0, and ImageMagick's text chunks of PNG for files from before the chunk ``eXIf``.
"""

from __future__ import annotations

import struct

_ORIENTATION, _INTEGERS = 0x112, {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}
_PREFIX = b"Exif\0\0"
_MAX_ENTRIES = 4096


def orientation(data: bytes) -> int | None:
    """Return the orientation, from 1 to 8, in EXIF data; None if it is missing or invalid."""
    while data.startswith(_PREFIX):  # some programs write it twice
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
    """Return the EXIF data in a text chunk of ImageMagick: a name and a length, then hexadecimal digits.

    Empty if the text is damaged.
    """
    try:
        return bytes.fromhex("".join(text.strip().split("\n")[2:]))
    except ValueError:
        return b""
