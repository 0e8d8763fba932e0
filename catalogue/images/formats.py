"""Format detection by content, header checks before decoding, and `ImageError` for the exceptions of Pillow."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image, ImageFile

from catalogue.images import png, tiff
from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")

# Pillow warns about sizes, which `Limits` checks, and about broken metadata of images with intact pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# Exceptions that Pillow raises for a broken file, besides OSError. EOFError: no frame; RuntimeError: AVIF; the others:
# a field of the file is used as an index, a length or a type before it is checked.
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

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # the last two are BigTIFF
_SIGNATURES = (
    b"\xff\xd8\xff",
    png.SIGNATURE,
    b"GIF87a",
    b"GIF89a",
    b"BM",
    *_TIFF,
)
_HEIC = re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
# Signatures of unsupported files that users take for photos.
_NOT_READ = {
    "JPEG XL": re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    "JPEG 2000": re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    "PDF": re.compile(rb"%PDF-"),
    "Photoshop's PSD": re.compile(rb"8BPS"),
    "SVG": re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", re.DOTALL),
    "HTML": re.compile(rb"\s*<(?:!DOCTYPE html|html)", re.IGNORECASE),
    "a video": re.compile(rb"....ftyp(?:mp4|isom|qt  |M4V|avc1)|\x1aE\xdf\xa3", re.DOTALL),
}


@contextlib.contextmanager
def broken_file(limits: Limits) -> Iterator[None]:
    """Convert the exceptions that Pillow raises for a broken file to ImageError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        size = f"{int(found[1]):,} pixels, " if found else ""
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{size}the limit is {limits.max_pixels:,}") from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "not enough memory to decode the image") from error
    except BROKEN_FILE as error:
        reason, words = _reason_of(error), str(error) or type(error).__name__
        if words.startswith("image file is truncated"):  # followed by the number of unprocessed bytes
            words = "the file ends before the image data is complete"
        raise ImageError(reason, words) from error


def _reason_of(error: Exception) -> Reason:
    """Return the reason for an exception of Pillow, which distinguishes kinds of damage only in the message."""
    words = str(error).lower()
    if "max_text" in words:  # MAX_TEXT_CHUNK or MAX_TEXT_MEMORY
        return Reason.TOO_MANY_BYTES
    cut = "truncated" in words or "unexpected end" in words or isinstance(error, EOFError)
    return Reason.TRUNCATED if cut else Reason.CORRUPT


def open_image(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Open an image file and check its header, without decoding pixels. Raises ImageError."""
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # otherwise Pillow would reject images within the limit
    if data.startswith(_TIFF) and tiff.is_decoded_wrongly(data):
        with broken_file(limits):
            data = tiff.rewritten(data, limits)
    elif data.startswith(png.SIGNATURE):
        data = png.without_damaged_remarks(data)
    with broken_file(limits):
        try:
            formats = (*FORMATS, "HEIF") if _HEIC.match(data) and _can_read_heic() else FORMATS
            image = Image.open(io.BytesIO(data), formats=formats)
        except Image.UnidentifiedImageError as error:
            if data.startswith(b"RIFF") and len(data) < 8 + int.from_bytes(data[4:8], "little"):
                raise ImageError(Reason.TRUNCATED, f"{len(data):,} bytes, the header declares more") from error
            if data.startswith(_TIFF):
                return open_image(tiff.rewritten(data, limits), limits)
            if has_known_signature(data):
                raise ImageError(Reason.CORRUPT, "the header is damaged") from error
            if _HEIC.match(data):
                if _can_read_heic():
                    raise ImageError(Reason.CORRUPT, "the header is damaged") from error
                words = "HEIC needs the extra heif: pip install -e '.[heif]'"
                raise ImageError(Reason.UNKNOWN_FORMAT, words) from error
            name = next((name for name, pattern in _NOT_READ.items() if pattern.match(data)), None)
            words = f"{name} is not supported: convert it to JPEG or PNG" if name else "not a supported image format"
            raise ImageError(Reason.UNKNOWN_FORMAT, words) from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} × {height} pixels, the limit is {limits.max_pixels:,}")
    if min(width, height) < limits.min_side:
        raise ImageError(Reason.TOO_SMALL, f"{width} × {height} pixels, the minimum side is {limits.min_side}")
    if image.format == "PNG":
        png.check_sums(data)
    return image


@functools.cache
def _can_read_heic() -> bool:
    """Return whether the extra ``heif`` is installed, and if so, register its decoder with Pillow."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener()
    return True


def has_known_signature(data: bytes) -> bool:
    """Return whether a file begins with the signature of one of `FORMATS`."""
    container = (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or data[4:12] in (b"ftypavif", b"ftypavis")
    return data.startswith(_SIGNATURES) or container
