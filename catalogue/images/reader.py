"""The image reader: bytes to uint8 pixels, the same for training and for classifying.

Every rule about odd images lives here. An image ends as the right picture or as an `ImageError` with one of the reasons
of `Reason`, never as half a picture and never as a placeholder. Pillow and NumPy only: no TensorFlow.

The policy (`POLICY` is its version; a model directory records it):

* the format is told by content, never by name: JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF; of an animation the first frame,
  on its canvas;
* bytes, format and size are checked in the header, before a pixel is decoded;
* large JPEGs are scaled in the DCT domain while they are read, never below one and a half times the size wanted;
* orientation is applied, from EXIF or XMP; transparency is laid over white; an embedded colour profile is brought to
  sRGB; CMYK is read with Adobe's inversion; channels of more than 8 bits are scaled, not clipped; grey becomes RGB;
* the picture is brought to the network's shape by one of `RESIZE_RULES`, bilinear with antialiasing.

Pictures are converted strip by strip and shrunk at once, so that one takes little more memory than its own pixels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile

from catalogue.images import colors

POLICY = 2
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
RESIZE_RULES = ("crop", "pad", "stretch")  # the first is the default, see benchmarks/README.md
COLOR_SPACE = "sRGB"

_STRIP_PIXELS = 1 << 20
_MAX_JPEG_SCANS = 100
_SEQUENTIAL_JPEG, _START_OF_SCAN = (0xC0, 0xC1), 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

# Pillow warns of what `Limits` checks, and of broken metadata beside good pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# What Pillow raises for a file that is broken, beside OSError. EOFError: no frame; RuntimeError: AVIF; the others: a
# field of the file used as an index, a length or a type before it was checked.
_BROKEN_FILE = (
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
_SIGNATURES = (
    b"\xff\xd8\xff",
    _PNG,
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",  # BigTIFF
    b"MM\x00+",
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
    TOO_MANY_BYTES = ("too_many_bytes", False, "The file, or what is packed in it, is larger than the limit.")
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
    """The images a network takes.

    Attributes:
        size: pixels along each side.
        resize: how a picture is brought to that square. ``crop``: the largest square in its middle; ``pad``: whole,
            with white beside it; ``stretch``: whole, its proportions changed.
        color_space: what the colours mean; pictures with an embedded profile are converted to it.
    """

    size: int
    resize: str = RESIZE_RULES[0]
    color_space: str = COLOR_SPACE

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"an image size of {self.size} is too small: at least 8 pixels")
        if self.resize not in RESIZE_RULES:
            raise ValueError(f"unknown resize rule {self.resize!r}: one of {', '.join(RESIZE_RULES)}")
        if self.color_space != COLOR_SPACE:
            raise ValueError(f"unknown colour space {self.color_space!r}: only {COLOR_SPACE}")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that are checked before anything is decoded: bytes, pixels in all, pixels along the shorter side."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 4


DEFAULT_LIMITS = Limits()


class _Fit(NamedTuple):
    """Which part of a picture is wanted, (left, top, right, bottom), and the (width, height) it is brought to."""

    box: tuple[int, int, int, int]
    target: tuple[int, int]


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
    picture = _decode(data, functools.partial(_FITS[spec.resize], spec.size), limits)
    if picture.size != (spec.size, spec.size):
        square = Image.new("RGB", (spec.size, spec.size), "white")
        square.paste(picture, ((spec.size - picture.width) // 2, (spec.size - picture.height) // 2))
        picture = square
    return np.asarray(picture)


def read_thumbnail(data: bytes, side: int, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decodes the bytes of an image file for people: its shape is kept.

    Returns:
        uint8 [h, w, 3], RGB, with neither h nor w above `side`.

    Raises:
        ImageError: as `read_image` does.
    """

    def fit(width: int, height: int) -> _Fit:
        return _within(min(side, max(width, height)), width, height)

    return np.asarray(_decode(data, fit, limits))


def _stretched(side: int, width: int, height: int) -> _Fit:
    return _Fit((0, 0, width, height), (side, side))


def _cropped(side: int, width: int, height: int) -> _Fit:
    shorter = min(width, height)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    return _Fit((left, top, left + shorter, top + shorter), (side, side))


def _within(side: int, width: int, height: int) -> _Fit:
    longer = max(width, height)
    target = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    return _Fit((0, 0, width, height), target)


_FITS = {"stretch": _stretched, "crop": _cropped, "pad": _within}


def _decode(data: bytes, fit: Callable[[int, int], _Fit], limits: Limits) -> Image.Image:
    """Bytes to an upright RGB picture, the part and the size of it that `fit` says for its width and height."""
    if not data:
        raise ImageError(Reason.EMPTY, "0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(Reason.TOO_MANY_BYTES, f"{len(data):,} bytes, the limit is {limits.max_bytes:,}")
    image = _open(_unended(data), limits)
    frame = image.tile[0].extents if image.format == "GIF" else None
    (left, top, right, bottom), (width, height) = fit(*image.size)
    with _broken_file(limits):
        colors.prepare_transparency(image)
        # One and a half times the size that is wanted, so that the resize, not the DCT, decides how the picture looks.
        scale = max(1.5 * width / (right - left), 1.5 * height / (bottom - top))
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        image.load()  # first: Pillow decodes when asked for metadata too, and then what is broken shows only once
    colors.drop_odd_metadata(image)
    orientation = _orientation(image)
    try:
        picture = _shrunk(colors.without_empty_alpha(image), fit(*image.size), frame)
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "shrinking needs more memory than there is") from error
    return picture.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else picture


def _unended(data: bytes) -> bytes:
    """A JPEG of one scan with a few zero bytes in place of the marker at its end and all that follows.

    A decoder that comes to that marker too soon paints the rest of the picture grey and says nothing; one that comes to
    the end of the data says so. The zero bytes are what a decoder reads ahead of what it needs. All else is returned as
    it is, as are JPEGs of several scans, each of which ends with a marker.

    Raises:
        ImageError: there are so many scans that the file is made to be slow.
    """
    scans, sequential = 0, False
    found = _MARKER.search(data, 2) if data.startswith(b"\xff\xd8") else None
    while found and found[0] != b"\xff\xd9":
        marker, end = found[0][1], found.end()
        scans += marker == _START_OF_SCAN
        sequential = sequential or marker in _SEQUENTIAL_JPEG
        if scans > _MAX_JPEG_SCANS:
            raise ImageError(Reason.CORRUPT, f"more than {_MAX_JPEG_SCANS} scans: made to be slow")
        found = _MARKER.search(data, end + int.from_bytes(data[end : end + 2], "big"))
    if scans == 1 and sequential:
        return data[: found.start()] + bytes(8) if found else data.rstrip(b"\0")
    return data


def _check_sums(data: bytes) -> None:
    """Checks what Pillow does not: the checksums of the chunks that hold a PNG's pixels. Raises ImageError."""
    position = len(_PNG)
    while chunk := data[position : position + 8]:
        end = position + 8 + int.from_bytes(chunk[:4], "big")
        checksum = data[end : end + 4]
        if chunk[4:] == b"IDAT" and checksum and checksum != zlib.crc32(data[position + 4 : end]).to_bytes(4, "big"):
            cut = len(data) < end + 4
            raise ImageError(Reason.TRUNCATED if cut else Reason.CORRUPT, "a checksum does not fit its chunk")
        position = end + 4


@contextlib.contextmanager
def _broken_file(limits: Limits) -> Iterator[None]:
    """Turns what Pillow raises for a broken file into an ImageError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"the limit is {limits.max_pixels:,} pixels") from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "decoding needs more memory than there is") from error
    except _BROKEN_FILE as error:
        raise ImageError(_reason_of(error), str(error) or type(error).__name__) from error


def _reason_of(error: Exception) -> Reason:
    """Pillow tells one kind of broken file from another by its words only."""
    words = str(error).lower()
    if "max_text" in words:  # MAX_TEXT_CHUNK or MAX_TEXT_MEMORY
        return Reason.TOO_MANY_BYTES
    cut = "truncated" in words or "unexpected end" in words or isinstance(error, EOFError)
    return Reason.TRUNCATED if cut else Reason.CORRUPT


def _open(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Reads the header only, and checks it."""
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # or Pillow would refuse what was asked for
    with _broken_file(limits):
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            if data.startswith(b"RIFF") and len(data) < 8 + int.from_bytes(data[4:8], "little"):
                raise ImageError(Reason.TRUNCATED, f"{len(data):,} bytes, the header says more") from error
            if has_known_signature(data):
                raise ImageError(Reason.CORRUPT, "the header is damaged") from error
            raise ImageError(Reason.UNKNOWN_FORMAT, f"begins with {data[:8]!r}") from error
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


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says, or XMP where EXIF says nothing or is broken. TIFFs have been turned by Pillow already."""
    if image.format == "TIFF":
        return None
    # Pillow reads the XMP, too, but not after it has come upon broken EXIF. A text chunk of a PNG may have its name.
    kinds = {"xmp": bytes, "XML:com.adobe.xmp": str}
    bare = Image.new("1", (1, 1))
    bare.info = {key: image.info[key] for key, kind in kinds.items() if isinstance(image.info.get(key), kind)}
    for source in (image, bare):
        with contextlib.suppress(*_BROKEN_FILE):
            orientation = source.getexif().get(ExifTags.Base.Orientation)
            if orientation in range(1, 9):
                return orientation
    return None


def _shrunk(image: Image.Image, fit: _Fit, frame: tuple[int, int, int, int] | None) -> Image.Image:
    """The wanted part of a loaded picture in RGB, in the size that is wanted.

    Args:
        image: in any mode.
        fit: what is wanted.
        frame: the part of the canvas that has been drawn on; all of it if None.
    """
    (left, top, right, bottom), target = fit
    # Averages of whole blocks first, and three times the size at least left to the filter: as good, and much faster.
    blocks = (max(1, (right - left) // (3 * target[0])), max(1, (bottom - top) // (3 * target[1])))
    profile, white = colors.profile_of(image), colors.white_of(image)

    def converted(part: Image.Image) -> Image.Image:
        return part if profile and profile.mode == "CMYK" else colors.to_rgb(part, white)

    if blocks == (1, 1) and frame is None:  # most photos, which strips would copy three times for nothing
        as_it_is = image.mode == "RGB" and (left, top, right, bottom) == (0, 0, *image.size)
        shrunk = converted(image if as_it_is else image.crop((left, top, right, bottom)))
    else:
        size = (math.ceil((right - left) / blocks[0]), math.ceil((bottom - top) / blocks[1]))
        shrunk = Image.new("CMYK" if profile and profile.mode == "CMYK" else "RGB", size)
        rows = max(1, _STRIP_PIXELS // ((right - left) * blocks[1])) * blocks[1]
        for y in range(top, bottom, rows):
            part = converted(image.crop((left, y, right, min(y + rows, bottom))))
            if frame:
                part = _on_canvas(part, (frame[0] - left, frame[1] - y, frame[2] - left, frame[3] - y))
            shrunk.paste(part.reduce(blocks), (0, (y - top) // blocks[1]))
    box = (0, 0, (right - left) / blocks[0], (bottom - top) / blocks[1])
    picture = shrunk.resize(target, Image.Resampling.BILINEAR, box=box)
    return profile.to_srgb(picture) if profile else picture


def _on_canvas(part: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """White wherever a part of a picture lies outside its frame."""
    box = (max(0, frame[0]), max(0, frame[1]), min(part.width, frame[2]), min(part.height, frame[3]))
    if box == (0, 0, *part.size):
        return part
    canvas = Image.new(part.mode, part.size, "white")
    if box[0] < box[2] and box[1] < box[3]:
        canvas.paste(part.crop(box), box[:2])
    return canvas
