"""Prepares JPEG files for decoding: rejects unsupported kinds, and makes decoders report truncated image data."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from dataclasses import dataclass, field

from catalogue.images.formats import broken_file, open_image
from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason

_MAX_SCANS = 100
_SEQUENTIAL, _PROGRESSIVE, _START_OF_SCAN = (0xC0, 0xC1), 0xC2, 0xDA
_UNSUPPORTED = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xC9: "with arithmetic coding",
    0xCA: "with arithmetic coding", 0xCB: "lossless", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}  # fmt: skip
_COMPONENTS = (1, 3, 4)
_BEFORE_A_SCAN = (0xC4, _START_OF_SCAN, 0xDB, 0xDD)  # tables, and the scan header itself
_END = b"\xff\xd9"
# Padding, since a decoder reads a few bytes ahead. It consists of 1 bits, which never form a Huffman code. In a scan,
# the byte FF is written as FF 00.
_READ_AHEAD = b"\xff\0" * 8
_NOISES = [random.Random(seed).randbytes(65536).replace(b"\xff", b"\xff\0") for seed in range(4)]
_MAX_ZEROS = 3
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STRIP_ROWS = 64


@dataclass
class _Scans:
    """State of the scans of an image while its file is read.

    Attributes:
        progressive: whether a scan may hold only some bits of some coefficients (ITU-T T.81, G.1).
        components: number of components of the frame; None before the frame header.
        identifiers: identifiers of the components, one byte each; some encoders give all components the same one.
        count: number of scans so far.
        lowest_bits: lowest bit so far of each coefficient, by (component, coefficient).
    """

    progressive: bool = False
    components: int | None = None
    identifiers: bytes = b""
    count: int = 0
    lowest_bits: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, header: bytes) -> None:
        """Add a scan, given its header without the length field."""
        self.count += 1
        listed = header[1 : 1 + 2 * header[0] : 2] if header else b""
        which = listed if len(set(listed)) == len(listed) else range(len(listed))
        first, last, bits = header[1 + 2 * len(listed) : 4 + 2 * len(listed)].ljust(3, b"\0")
        coefficients = range(first, min(last, 63) + 1) if self.progressive else range(64)
        lowest = bits & 15 if self.progressive else 0
        self.lowest_bits.update(dict.fromkeys(itertools.product(which, coefficients), lowest))

    @property
    def complete(self) -> bool:
        """Whether the scans hold every bit of every coefficient in all components."""
        return len(self.lowest_bits) == 64 * (self.components or 0) > 0 and not any(self.lowest_bits.values())


def _check_frame(marker: int, header: bytes) -> None:
    """Reject a JPEG of a kind that Pillow cannot decode safely: decoding a lossless JPEG overruns a buffer.

    Args:
        marker: second byte of the frame's marker (``SOF``).
        header: frame header, without the length field.

    Raises:
        ImageError: this kind of JPEG is not supported.
    """
    kind = _UNSUPPORTED.get(marker)
    if not kind and len(header) >= 6:
        bits, height, count = header[0], int.from_bytes(header[1:3], "big"), header[5]
        kind = f"with {bits} bits" if bits in (12, 16) else kind
        kind = "without a height in its header" if not height else kind
        kind = f"with {count} components" if count not in _COMPONENTS else kind
    if kind:
        raise ImageError(Reason.UNSUPPORTED, f"this kind of JPEG is not supported: {kind}")


def with_clear_end(data: bytes, limits: Limits) -> bytes:
    """Change the end of a JPEG so that a decoder reports truncated images, and only those.

    A decoder that meets the end marker too early paints the rest of the image gray without an error, but it reports an
    error if the data ends too early. Therefore the end marker of a JPEG with one scan is removed, together with
    everything after it. Then a file that lacks only this marker, or has a phone's trailer instead, can be decoded, and
    a truncated file cannot.

    With several scans, a decoder reads on until the end marker. If this marker is missing although the scans cover
    every coefficient, it is added, provided that random bytes before it do not change the pixels.

    Returns:
        The changed file; `data` itself if it is not a JPEG or needs no change.

    Raises:
        ImageError: this kind of JPEG is not supported; the end marker comes before the last scan; or the file has so
            many scans that it must be crafted to slow down decoding.
    """
    scans = _Scans()
    found = _MARKER.search(data, 2) if data.startswith(b"\xff\xd8") else None
    while found and found[0] != _END:
        marker, end = found[0][1], found.end()
        length = int.from_bytes(data[end : end + 2], "big")
        if marker in _UNSUPPORTED or marker in (*_SEQUENTIAL, _PROGRESSIVE):
            _check_frame(marker, data[end + 2 : end + length])
            scans.progressive = marker == _PROGRESSIVE
            scans.components = int.from_bytes(data[end + 7 : end + 8], "big")
            scans.identifiers = data[end + 8 : end + 8 + 3 * scans.components : 3]
        following = _MARKER.search(data, end + length)
        if marker == _START_OF_SCAN:
            scans.add(data[end + 2 : end + length])
            if scans.count > _MAX_SCANS:
                raise ImageError(Reason.CORRUPT, f"more than {_MAX_SCANS} scans, which would take too long to decode")
            if scans.complete and not (following and following[0][1] in _BEFORE_A_SCAN):
                picture = data[: following.start()] if following else _without_padding(data)
                if scans.count == 1 and not scans.progressive:
                    return picture + _READ_AHEAD
                missing = not following or following[0] != _END
                return picture + _END if missing and _is_whole(picture, limits) else data
        found = following
    if found and scans.count and len(set(scans.identifiers)) == scans.components:
        raise ImageError(Reason.TRUNCATED, "the end marker comes before the last scan")
    return data


def _is_whole(picture: bytes, limits: Limits) -> bool:
    """Return whether the last scan is complete: random bytes after it do not change the pixels."""
    try:
        return len({_pixels(picture + noise + _END, limits) for noise in _NOISES}) == 1
    except ImageError:  # the decoder read the noise and found an invalid code
        return False


def _pixels(data: bytes, limits: Limits) -> bytes:
    """Return a digest of the pixels of a JPEG, computed in strips to avoid a second copy of the pixels in memory."""
    image = open_image(data, limits)
    digest = hashlib.sha256()
    with broken_file(limits):
        image.load()
    for top in range(0, image.height, _STRIP_ROWS):
        strip = (0, top, image.width, min(top + _STRIP_ROWS, image.height))
        digest.update(image.crop(strip).tobytes())
    return digest.digest()


def _without_padding(data: bytes) -> bytes:
    """Remove half a marker, or all zero bytes except the first three, from the end of a file that ends within a scan.

    A scan may end with a few zero bytes. More zero bytes come from an interrupted download.
    """
    return data[:-1] if data.endswith(b"\xff") else data[: len(data.rstrip(b"\0")) + _MAX_ZEROS]
