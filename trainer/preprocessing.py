"""The image reader: bytes to uint8 pixels, the same for training and for classifying.

Every rule about odd images lives here. An image ends as the right picture or as an `ImageError` with one of the reasons
of `Reason`, never as half a picture and never as a placeholder. Pillow and NumPy only: no TensorFlow.

The policy (`POLICY` is its version; a model directory records it):

* the format is told by content, never by name: JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF; of an animation the first frame;
* the size is checked in the header, before a pixel is decoded;
* large JPEGs are scaled in the DCT domain while they are read, never below the size that is asked for;
* EXIF orientation is applied, transparency is laid over white, 16-bit channels are scaled to 8 bits, grey becomes RGB;
* the resize is bilinear with antialiasing.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image

POLICY = 1
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
RESIZE_RULES = ("stretch",)

# Pillow warns of what `Limits` checks, and of broken metadata beside good pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# What Pillow's decoders raise for a file that is broken, beside OSError. EOFError: no frame; the others: a field of
# the file used as an index, a length or a type before it was checked.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Reason(enum.Enum):
    """Why an image could not be classified: its name in files, whether it may pass by itself, a sentence."""

    NOT_FOUND = ("not_found", False, "There is no such file or object.")
    PERMISSION_DENIED = ("permission_denied", False, "Reading the file or object is not allowed.")
    READ_FAILED = ("read_failed", True, "Reading failed; it may succeed in a later run.")
    EMPTY = ("empty", False, "The file has no bytes.")
    TOO_MANY_BYTES = ("too_many_bytes", False, "The file is larger than the limit.")
    UNKNOWN_FORMAT = ("unknown_format", False, "The content is in no image format that is read here.")
    TRUNCATED = ("truncated", False, "The file ends before its picture does.")
    CORRUPT = ("corrupt", False, "The file is damaged and gives no picture.")
    TOO_MANY_PIXELS = ("too_many_pixels", False, "The picture has more pixels than the limit.")
    TOO_SMALL = ("too_small", False, "The picture is too small to show anything.")
    BAD_MANIFEST_ROW = ("bad_manifest_row", False, "The line of the manifest names no image.")

    def __init__(self, code: str, transient: bool, sentence: str) -> None:
        self.code = code
        self.transient = transient
        self.sentence = sentence


class ImageError(Exception):
    """An image that cannot be used, with the reason and a message about this very file."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)  # both, so that the error survives pickling
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason.code}: {self.message}"


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """The images a network takes: `size` × `size` pixels, brought to that shape by the rule `resize`."""

    size: int
    resize: str = "stretch"

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"an image size of {self.size} is too small: at least 8 pixels")
        if self.resize not in RESIZE_RULES:
            raise ValueError(f"unknown resize rule {self.resize!r}: one of {', '.join(RESIZE_RULES)}")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that are checked before anything is decoded: bytes, pixels in all, pixels along the shorter side."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 4


DEFAULT_LIMITS = Limits()


def read_image(data: bytes, spec: ImageSpec, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decodes the bytes of an image file for a network.

    Args:
        data: the whole file.
        spec: the shape that is wanted.
        limits: what is refused.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        ImageError: with the reason, for everything that gives no picture.
    """

    def stretch(image: Image.Image) -> Image.Image:
        return image.resize((spec.size, spec.size), Image.Resampling.BILINEAR, reducing_gap=3.0)

    return np.asarray(_decode(data, spec.size, stretch, limits))


def read_thumbnail(data: bytes, side: int, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decodes the bytes of an image file for people: its shape is kept.

    Returns:
        uint8 [h, w, 3], RGB, with neither h nor w above `side`.

    Raises:
        ImageError: as `read_image` does.
    """

    def shrink(image: Image.Image) -> Image.Image:
        image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
        return image

    return np.asarray(_decode(data, side, shrink, limits))


def _decode(data: bytes, side: int, fit: Callable[[Image.Image], Image.Image], limits: Limits) -> Image.Image:
    """Bytes to an upright RGB picture that has gone through `fit`; `side` is about the size that `fit` gives."""
    if not data:
        raise ImageError(Reason.EMPTY, "0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(Reason.TOO_MANY_BYTES, f"{len(data):,} bytes, the limit is {limits.max_bytes:,}")
    image = _open(data)
    _check_size(image, limits)
    try:
        # Twice the size that is wanted, so that the resize, not the DCT, decides how the picture looks.
        image.draft(image.mode, (2 * side, 2 * side))
        image.load()  # first: Pillow decodes when asked for metadata too, and then what is broken shows only once
        return fit(_to_rgb(_upright(image)))
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, str(error)) from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "decoding needs more memory than there is") from error
    except _DECODER_ERRORS as error:
        raise ImageError(_reason_of(error), str(error) or type(error).__name__) from error


def _open(data: bytes) -> Image.Image:
    """Reads the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, str(error)) from error
    except Image.UnidentifiedImageError as error:
        if _has_known_signature(data):
            raise ImageError(Reason.CORRUPT, "the header is damaged") from error
        raise ImageError(Reason.UNKNOWN_FORMAT, f"begins with {data[:8]!r}") from error
    except _DECODER_ERRORS as error:
        raise ImageError(_reason_of(error), str(error) or type(error).__name__) from error


def _has_known_signature(data: bytes) -> bool:
    container = (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or data[4:12] in (b"ftypavif", b"ftypavis")
    return data.startswith(_SIGNATURES) or container


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} × {height} pixels, the limit is {limits.max_pixels:,}")
    if min(width, height) < limits.min_side:
        raise ImageError(Reason.TOO_SMALL, f"{width} × {height} pixels, at least {limits.min_side} along each side")


def _reason_of(error: Exception) -> Reason:
    """Pillow tells a file that ends too soon from one that is broken by its words only."""
    words = str(error).lower()
    cut = "truncated" in words or "unexpected end" in words or isinstance(error, EOFError)
    return Reason.TRUNCATED if cut else Reason.CORRUPT


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation. Broken EXIF says nothing about it, and the pixels may still be good."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _DECODER_ERRORS:
        return image
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _scale_to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image)
        image = background
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Grey with more than 8 bits to 8. Pillow's own conversion clips at 255 what it should scale."""
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0 if values.max() <= 255.0 else 65535.0
        return Image.fromarray((values.clip(0, top) * (255.0 / top) + 0.5).astype(np.uint8))
    # Mode I holds 16-bit PNG and TIFF samples in 32 bits; 257 maps 65535 to 255 exactly.
    return Image.fromarray(((values.astype(np.int64).clip(0, 65535) + 128) // 257).astype(np.uint8))
