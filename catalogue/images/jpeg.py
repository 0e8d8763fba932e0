"""JPEG files before they are decoded: the end of their picture."""

from __future__ import annotations

import re

from catalogue.reasons import ImageError, Reason

_MAX_SCANS = 100
_SEQUENTIAL, _START_OF_SCAN = (0xC0, 0xC1), 0xDA
# Ones, of which no Huffman code consists, in the form that they have in a scan.
_PADDING = b"\xff\0" * 8
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def without_end_marker(data: bytes) -> bytes:
    """A JPEG of one scan with a few bytes of ones in place of the marker at its end and all that follows.

    A decoder that comes to that marker too soon paints the rest of the picture grey and says nothing; one that comes to
    the end of the data says so. The ones are what a decoder reads ahead of what it needs. So a JPEG without an
    end marker, or with what a phone has put in its place, is whole if its picture is. All else is returned as it is, as
    are JPEGs of several scans, each of which ends with a marker.

    Raises:
        ImageError: there are so many scans that the file is made to be slow.
    """
    scans, components = 0, None
    found = _MARKER.search(data, 2) if data.startswith(b"\xff\xd8") else None
    while found and found[0] != b"\xff\xd9":
        marker, end = found[0][1], found.end()
        if marker in _SEQUENTIAL:
            components = data[end + 7 : end + 8]
        following = _MARKER.search(data, end + int.from_bytes(data[end : end + 2], "big"))
        if marker == _START_OF_SCAN:
            if not scans and data[end + 2 : end + 3] == components:  # all of the picture is in this scan
                return (data[: following.start()] if following else _without_padding(data)) + _PADDING
            scans += 1
            if scans > _MAX_SCANS:
                raise ImageError(Reason.CORRUPT, f"more than {_MAX_SCANS} scans: made to be slow")
        found = following
    return data


def _without_padding(data: bytes) -> bytes:
    """A file that ends within a scan, without zero bytes and half a marker at its end."""
    found = data.rstrip(b"\0")
    if not found.endswith(b"\xff"):
        return found
    return found + b"\0" if len(found) < len(data) else found[:-1]  # FF 00 is data
