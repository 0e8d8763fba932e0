"""Detects formats by content, checks headers before decoding, and converts Pillow's exceptions to `ImageError`."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from catalogue.images import avif, bmp, png, tiff
from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")

# Pillow warns about sizes, which `Limits` checks, and about broken metadata of images with intact pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# Exceptions that Pillow raises for a broken file. OSError and SyntaxError are raised on purpose; EOFError means that
# there is no frame; RuntimeError comes from the AVIF decoder. The others mostly occur where Pillow uses a field of the
# file as an index, a length or a type without checking it.
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
_JPEG = b"\xff\xd8\xff"
_SIGNATURES = (_JPEG, png.SIGNATURE, b"GIF87a", b"GIF89a", *_TIFF)
_CONVERT = "is not supported: convert it to JPEG or PNG"
# Message -> signature of unsupported files that users submit as photos.
_NOT_READ = {
    f"JPEG XL {_CONVERT}": re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    f"JPEG 2000 {_CONVERT}": re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    f"PDF {_CONVERT}": re.compile(rb"%PDF-"),
    f"Photoshop's PSD {_CONVERT}": re.compile(rb"8BPS"),
    f"SVG {_CONVERT}": re.compile(
        rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", re.DOTALL
    ),
    "an HTML page, not an image: check what its URL returns": re.compile(rb"\s*<(?:!DOCTYPE html|html)", re.IGNORECASE),
    "a video, not an image: omit it, or extract a frame": re.compile(
        rb"....ftyp(?:mp4|isom|qt  |M4V|avc1)|\x1aE\xdf\xa3", re.DOTALL
    ),
}


_HEAD_BYTES = 4096
# Divisor of the pixel limit for WebP. Decoding takes 16 bytes per pixel, because Pillow and libwebp hold four copies of
# the pixels; other formats take 4 or 5.
_WEBP_MEMORY = 3
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_SUPPORTED = ("unsupported", "not supported", "cannot handle", "not been built")

# The color profile or XMP of a PNG may exceed 1 MiB, Pillow's default limit for the decompressed data of such a chunk.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 2**20


@contextlib.contextmanager
def broken_file(limits: Limits) -> Iterator[None]:
    """Convert the exceptions that Pillow raises for broken and too large images to ImageError."""
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
    """Return the reason for a Pillow exception, mostly from its message: few kinds of damage have their own class."""
    words = str(error).lower()
    if "max_text" in words:  # MAX_TEXT_CHUNK or MAX_TEXT_MEMORY
        return Reason.TOO_MANY_BYTES
    if any(part in words for part in _NOT_SUPPORTED):
        return Reason.UNSUPPORTED
    cut = "truncated" in words or "unexpected end" in words or isinstance(error, EOFError)
    return Reason.TRUNCATED if cut else Reason.CORRUPT


def open_image(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Open an image file and check its header and, for a PNG, the checksums of its pixels. Raises ImageError.

    Pixels are decoded only if `tiff.rewritten` has to rewrite a TIFF.
    """
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # otherwise Pillow would reject images within the limit
    with broken_file(limits):
        image = _opened(_prepared(data, limits), limits)
    width, height = image.size
    most = limits.max_pixels // (_WEBP_MEMORY if image.format == "WEBP" else 1)
    if width * height > most:
        which = " for WebP" if image.format == "WEBP" else ""
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} × {height} pixels, the limit{which} is {most:,}")
    if min(width, height) < limits.min_side:
        raise ImageError(Reason.TOO_SMALL, f"{width} × {height} pixels, the minimum side is {limits.min_side}")
    if image.format == "PNG":
        png.check_sums(data)
    return image


def _prepared(data: bytes, limits: Limits) -> bytes:
    """Return the file in a form that Pillow decodes correctly. Raises ImageError if that is impossible."""
    if data.startswith(_TIFF) and tiff.is_decoded_wrongly(data, limits):
        return tiff.rewritten(data, limits)
    if data.startswith(png.SIGNATURE):
        return png.without_remarks(data)
    if bmp.is_bmp(data):
        bmp.check(data)
    elif data.startswith(b"BM"):  # Pillow would report a truncated BMP
        raise _unidentified(data)
    return avif.with_major_brand(data) if avif.format_of(data) == "AVIF" else data


def _opened(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Open a file with Pillow's plugin for its format. Raises ImageError or an exception of Pillow."""
    if data.startswith(_JPEG):  # Image.open would also look for further images, whose index may be damaged
        try:
            return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        except SyntaxError as error:
            raise ImageError(Reason.CORRUPT, "the header is damaged") from error
    container = avif.format_of(data)
    if container == "HEIF" and not _can_read_heic():
        raise ImageError(Reason.UNKNOWN_FORMAT, "HEIC needs the extra heif: pip install -e '.[heif]'")
    try:
        return Image.open(io.BytesIO(data), formats=(container,) if container else FORMATS)
    except Image.UnidentifiedImageError as error:
        if data.startswith(_TIFF):
            return _opened(tiff.rewritten(data, limits), limits)
        raise _unidentified(data) from error


def _unidentified(data: bytes) -> ImageError:
    """Return the error for a file that Pillow does not identify."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        return ImageError(Reason.TRUNCATED, f"the file has {len(data):,} bytes, but its header declares more")
    if avif.is_truncated(data):
        return ImageError(Reason.TRUNCATED, "the file ends before the image data is complete")
    if has_known_signature(data):
        return ImageError(Reason.CORRUPT, "the header is damaged")
    head = data[:_HEAD_BYTES].removeprefix(_BYTE_ORDER_MARK)
    words = next((words for words, pattern in _NOT_READ.items() if pattern.match(head)), "not a supported image format")
    return ImageError(Reason.UNKNOWN_FORMAT, words)


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
    """Return whether a file begins with the signature of a supported format."""
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith(_SIGNATURES) or is_webp or bmp.is_bmp(data) or avif.format_of(data) is not None
