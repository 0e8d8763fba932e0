"""Checks the headers of BMP files, and reads their color profiles, which Pillow ignores. Part of the image policy.

Source: the Windows structures BITMAPCOREHEADER to BITMAPV5HEADER.
"""

from __future__ import annotations

import struct

from catalogue.reasons import ImageError, Reason

_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_CORE, _OS2_SIZES, _V3, _V5 = 12, range(16, 64), 56, 124
_RUN_LENGTHS, _BITFIELDS = (1, 2), 3
_EMBEDDED = b"DEBM"  # PROFILE_EMBEDDED


def is_bmp(data: bytes) -> bool:
    """Return whether a file has the signature and a possible header size of a BMP. Text can begin with BM, too."""
    size = _header_size(data)
    return data.startswith(b"BM") and (len(data) < 18 or size in _HEADER_SIZES or size in _OS2_SIZES)


def check(data: bytes) -> None:
    """Raise ImageError for kinds of BMP that Pillow rejects or may decode wrongly."""
    size = _header_size(data)
    if len(data) >= 18 and size not in _HEADER_SIZES:
        raise ImageError(Reason.UNSUPPORTED, f"OS/2 BMP with a header of {size} bytes")
    if size == _CORE or len(data) < 14 + size:
        return
    bits, compression = struct.unpack_from("<HI", data, 28)
    if compression in _RUN_LENGTHS:
        raise ImageError(Reason.UNSUPPORTED, "BMP with run-length encoding")
    if compression == _BITFIELDS and bits == 16 and size >= _V3 and any(data[66:70]):
        raise ImageError(Reason.UNSUPPORTED, "16-bit BMP with alpha")


def profile(data: bytes) -> bytes | None:
    """Return the embedded color profile of a BMP; None if there is none."""
    if _header_size(data) != _V5 or data[70:74] != _EMBEDDED or len(data) < 14 + _V5:
        return None
    offset, length = struct.unpack_from("<II", data, 126)
    return data[14 + offset : 14 + offset + length] or None


def _header_size(data: bytes) -> int:
    return int.from_bytes(data[14:18], "little")
