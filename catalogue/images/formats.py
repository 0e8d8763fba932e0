"""Image files up to their pixels: formats told by content, headers checked, damage found before anything is decoded."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image, ImageFile

from catalogue.images import tiff
from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")

_MAX_JPEG_SCANS = 100
_SEQUENTIAL_JPEG, _START_OF_SCAN = (0xC0, 0xC1), 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

# Pillow warns of what `Limits` checks, and of broken metadata beside good pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# What Pillow raises for a file that is broken, beside OSError. EOFError: no frame; RuntimeError: AVIF; the others: a
# field of the file used as an index, a length or a type before it was checked.
BROKEN_FILE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
)

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # the last two are BigTIFF's
# Chunks of a PNG that say nothing of its pixels, and come to grief in programs that edit what is around them.
_REMARKS = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"hIST", b"sPLT", b"bKGD")
_SIGNATURES = (
    b"\xff\xd8\xff",
    _PNG,
    b"GIF87a",
    b"GIF89a",
    b"BM",
    *_TIFF,
)
# Formats by which files begin that people take for photos.
_NOT_READ = {
    "HEIC": re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    "JPEG 2000": re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    "PDF": re.compile(rb"%PDF-"),
    "Photoshop's PSD": re.compile(rb"8BPS"),
    "SVG": re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", re.DOTALL),
    "HTML": re.compile(rb"\s*<(?:!DOCTYPE html|html)", re.IGNORECASE),
    "a video": re.compile(rb"....ftyp(?:mp4|isom|qt  |M4V|avc1)|\x1aE\xdf\xa3", re.DOTALL),
}


def without_end_marker(data: bytes) -> bytes:
    """A JPEG of one scan with a few zero bytes in place of the marker at its end and all that follows.

    A decoder that comes to that marker too soon paints the rest of the picture grey and says nothing; one that comes to
    the end of the data says so. The zero bytes are what a decoder reads ahead of what it needs. So a JPEG without an
    end marker, or with what a phone has put in its place, is whole if its picture is. All else is returned as it is, as
    are JPEGs of several scans, each of which ends with a marker.

    Raises:
        ImageError: there are so many scans that the file is made to be slow.
    """
    scans, components = 0, None
    found = _MARKER.search(data, 2) if data.startswith(b"\xff\xd8") else None
    while found and found[0] != b"\xff\xd9":
        marker, end = found[0][1], found.end()
        if marker in _SEQUENTIAL_JPEG:
            components = data[end + 7 : end + 8]
        following = _MARKER.search(data, end + int.from_bytes(data[end : end + 2], "big"))
        if marker == _START_OF_SCAN:
            if not scans and data[end + 2 : end + 3] == components:  # all of the picture is in this scan
                return (data[: following.start()] if following else data.rstrip(b"\0\xff")) + bytes(8)
            scans += 1
            if scans > _MAX_JPEG_SCANS:
                raise ImageError(Reason.CORRUPT, f"more than {_MAX_JPEG_SCANS} scans: made to be slow")
        found = following
    return data


class _Chunk(NamedTuple):
    """A chunk of a PNG: its type, where it begins and ends, and whether its checksum fits."""

    kind: bytes
    start: int
    end: int
    is_sound: bool


def _chunks(data: bytes, kinds: Sequence[bytes]) -> Iterator[_Chunk]:
    """The chunks of some types of a PNG."""
    position = len(_PNG)
    while header := data[position : position + 8]:
        end = position + 8 + int.from_bytes(header[:4], "big")
        if header[4:] in kinds:
            is_sound = data[end : end + 4] == zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
            yield _Chunk(header[4:], position, end + 4, is_sound)
        position = end + 4


def _check_sums(data: bytes) -> None:
    """Checks what Pillow does not: the checksums of the chunks that hold a PNG's pixels. Raises ImageError."""
    for chunk in _chunks(data, (b"IDAT",)):
        if not chunk.is_sound and len(data) > chunk.end - 4:
            cut = len(data) < chunk.end
            raise ImageError(Reason.TRUNCATED if cut else Reason.CORRUPT, "a checksum does not fit its chunk")


def _without_damaged_remarks(data: bytes) -> bytes:
    """A PNG without the texts and the like whose checksums do not fit, by which Pillow would refuse all of it."""
    damaged = [chunk for chunk in _chunks(data, _REMARKS) if not chunk.is_sound and chunk.end <= len(data)]
    for chunk in reversed(damaged):
        data = data[: chunk.start] + data[chunk.end :]
    return data


@contextlib.contextmanager
def broken_file(limits: Limits) -> Iterator[None]:
    """Turns what Pillow raises for a broken file into an ImageError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"the limit is {limits.max_pixels:,} pixels") from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "decoding needs more memory than there is") from error
    except BROKEN_FILE as error:
        raise ImageError(_reason_of(error), str(error) or type(error).__name__) from error


def _reason_of(error: Exception) -> Reason:
    """Pillow tells one kind of broken file from another by its words only."""
    words = str(error).lower()
    if "max_text" in words:  # MAX_TEXT_CHUNK or MAX_TEXT_MEMORY
        return Reason.TOO_MANY_BYTES
    cut = "truncated" in words or "unexpected end" in words or isinstance(error, EOFError)
    return Reason.TRUNCATED if cut else Reason.CORRUPT


def open_image(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Reads the header only, and checks it."""
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # or Pillow would refuse what was asked for
    if data.startswith(_TIFF):
        tiff.check(data)
    elif data.startswith(_PNG):
        data = _without_damaged_remarks(data)
    with broken_file(limits):
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            if data.startswith(b"RIFF") and len(data) < 8 + int.from_bytes(data[4:8], "little"):
                raise ImageError(Reason.TRUNCATED, f"{len(data):,} bytes, the header says more") from error
            if data.startswith(_TIFF):
                raise tiff.why_refused(data) from error
            if has_known_signature(data):
                raise ImageError(Reason.CORRUPT, "the header is damaged") from error
            name = next((name for name, pattern in _NOT_READ.items() if pattern.match(data)), None)
            words = f"{name} is not read: convert it to JPEG or PNG" if name else f"begins with {data[:8]!r}"
            raise ImageError(Reason.UNKNOWN_FORMAT, words) from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} × {height} pixels, the limit is {limits.max_pixels:,}")
    if min(width, height) < limits.min_side:
        raise ImageError(Reason.TOO_SMALL, f"{width} × {height} pixels, at least {limits.min_side} along each side")
    if image.format == "PNG":
        _check_sums(data)
    return image


def has_known_signature(data: bytes) -> bool:
    """Whether a file begins as those of one of `FORMATS` do."""
    container = (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or data[4:12] in (b"ftypavif", b"ftypavis")
    return data.startswith(_SIGNATURES) or container
