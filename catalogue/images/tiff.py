"""Detects the kinds of TIFF that Pillow does not decode correctly, and describes them. Part of the image policy.

A TIFF can store its samples in hundreds of ways. Pillow rejects some, and silently decodes a few wrongly;
`tests/catalogue/images/test_tiff.py` compares each with another decoder.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from catalogue.reasons import ImageError, Reason

# Tags and values of TIFF 6.0, its Technical Notes, and DNG 1.7.
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 258, 259, 262, 277, 284
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUB_IFDS, _DNG_VERSION = 338, 339, 330, 50706
_GREY, _RGB, _CMYK, _YCBCR = (0, 1), 2, 5, 6
_UNCOMPRESSED, _SEPARATE, _SIGNED, _REDUCED, _UNASSOCIATED_ALPHA = 1, 2, 2, 1, 2
_EXTRAS = {1: "associated alpha", 2: "alpha"}
_PHOTOMETRICS = {
    0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "ICC Lab",
    10: "ITU Lab", 32803: "color filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
_FORMATS = {1: "", 2: " signed", 3: " floating-point", 4: " untyped", 5: " complex", 6: " complex"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS, _MOST_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}, 16


class _Kind(NamedTuple):
    """Sample layout of a TIFF."""

    bits: tuple[int, ...]
    sample_format: int
    photometric: int
    compression: int
    is_separate: bool
    extra_samples: tuple[int, ...]

    def __str__(self) -> str:
        name = _PHOTOMETRICS.get(self.photometric, f"photometric interpretation {self.photometric}")
        bits = "/".join(map(str, sorted(set(self.bits))))
        parts = [f"{bits}-bit{_FORMATS.get(self.sample_format, '')} {name}"]
        parts += [_EXTRAS.get(extra, "extra samples") for extra in self.extra_samples]
        parts += ["separate planes"] if self.is_separate else []
        parts += ["uncompressed" if self.compression == _UNCOMPRESSED else f"compression {self.compression}"]
        return ", ".join(parts)


def check(data: bytes) -> None:
    """Reject a TIFF that Pillow would decode wrongly. Raises ImageError."""
    kind = _kind(data)
    if kind and not _is_decoded_right(kind):
        raise _unsupported(kind)


def why_refused(data: bytes) -> ImageError:
    """Return the error for a TIFF that Pillow rejects: an unsupported kind, or a damaged header."""
    kind = _kind(data)
    return _unsupported(kind) if kind else ImageError(Reason.CORRUPT, "the header is damaged")


def _unsupported(kind: _Kind) -> ImageError:
    return ImageError(Reason.UNSUPPORTED, f"this kind of TIFF is not supported: {kind}")


def _is_decoded_right(kind: _Kind) -> bool:
    if kind.sample_format == _SIGNED:
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
    tags = _tags(data)
    if not tags:
        return None
    if _DNG_VERSION in tags or (_SUB_IFDS in tags and tags.get(_SUBFILE, (0,))[0] == _REDUCED):
        raise ImageError(Reason.UNSUPPORTED, "a camera raw file, such as DNG or NEF: export it as JPEG or TIFF")
    return _Kind(
        bits=tags.get(_BITS, (1,)),
        sample_format=max(tags.get(_SAMPLE_FORMAT, (1,))),
        photometric=tags.get(_PHOTOMETRIC, (-1,))[0],
        compression=tags.get(_COMPRESSION, (_UNCOMPRESSED,))[0],
        is_separate=tags.get(_PLANAR, (1,))[0] == _SEPARATE and tags.get(_SAMPLES, (1,))[0] > 1,
        extra_samples=tags.get(_EXTRA_SAMPLES, ()),
    )


def _tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Return the integers in the tags of the first directory, at most 16 per tag; none if it is damaged.

    Raises:
        ImageError: the tags together claim more bytes than the file has; Pillow would allocate memory for each of them.
    """
    order = "<" if data[:2] == b"II" else ">"
    is_big = b"+" in data[2:4]
    entry, word = (f"{order}HHQ", 8) if is_big else (f"{order}HHI", 4)
    try:
        (at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, 8 if is_big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, at)
        at += 8 if is_big else 2
        tags, claimed = {}, 0
        for _ in range(count):
            tag, kind, length = struct.unpack_from(entry, data, at)
            size, place = length * _TYPE_BYTES.get(kind, 0), at + struct.calcsize(entry)
            if size > word:
                (place,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, place)
                claimed += size
            if claimed > len(data):
                raise ImageError(Reason.CORRUPT, "its tags claim more bytes than the file has")
            if kind in _NUMBERS and length:
                tags[tag] = struct.unpack_from(f"{order}{min(length, _MOST_NUMBERS)}{_NUMBERS[kind]}", data, place)
            at += struct.calcsize(entry) + word
    except (struct.error, OverflowError):
        return {}
    return tags
