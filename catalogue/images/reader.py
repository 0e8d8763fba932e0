"""The image reader: bytes to uint8 pixels, the same for training and for classifying.

Every rule about odd images lives here. An image ends as the right picture or as an `ImageError` with one of the reasons
of `Reason`, never as half a picture and never as a placeholder. Pillow and NumPy only: no TensorFlow.

The policy (`POLICY` is its version; a model directory records it):

* the format is told by content, never by name: JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, and HEIC with the extra
  ``heif``; of an animation the first frame, on its canvas;
* bytes, format and size are checked in the header, before a pixel is decoded;
* large JPEGs are scaled in the DCT domain while they are read, never below one and a half times the size wanted;
* orientation is applied, from EXIF or XMP; transparency is laid over white; colours are brought to sRGB, from those of
  an embedded profile or of the numbers that a file gives; CMYK is read with Adobe's inversion; channels of more than 8
  bits are scaled, not clipped; grey becomes RGB;
* the picture is brought to the network's shape by one of `RESIZE_RULES`, bilinear with antialiasing; for a network that
  takes several views, by each of them, from one decoded picture.

Pictures are converted strip by strip and shrink at once, so that one takes little more memory than its own pixels.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import ExifTags, Image, ImageFile

from catalogue.images import avif, colors, png
from catalogue.images.cicp import conversion_of
from catalogue.images.formats import BROKEN_FILE, broken_file, open_image
from catalogue.images.jpeg import with_clear_end
from catalogue.images.shrinking import Fit, Profile, shrink
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec, Limits
from catalogue.reasons import ImageError, Reason

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(data: bytes, spec: ImageSpec, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decodes the bytes of an image file for a network.

    Args:
        data: the whole file.
        spec: the shape that is wanted.
        limits: what is refused.

    Returns:
        uint8 [H, W, 3], RGB, of `ImageSpec.shape`.

    Raises:
        ImageError: with the reason, for everything that gives no picture.
    """
    pictures = _decode(data, [functools.partial(_FITS[view], spec.size) for view in spec.views], limits)
    squares = [np.asarray(_on_square(picture, spec.size)) for picture in pictures]
    return squares[0] if len(squares) == 1 else np.concatenate(squares)


def _on_square(picture: Image.Image, side: int) -> Image.Image:
    """A picture in the middle of a white square, if it does not fill it."""
    if picture.size == (side, side):
        return picture
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def read_thumbnail(data: bytes, side: int, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decodes the bytes of an image file for people: its shape is kept.

    Returns:
        uint8 [h, w, 3], RGB, with neither h nor w above `side`.

    Raises:
        ImageError: as `read_image` does.
    """

    def fit(width: int, height: int) -> Fit:
        return _within(min(side, max(width, height)), width, height)

    (picture,) = _decode(data, [fit], limits)
    return np.asarray(picture)


def _stretched(side: int, width: int, height: int) -> Fit:
    return Fit((0, 0, width, height), (side, side))


def _cropped(side: int, width: int, height: int) -> Fit:
    shorter = min(width, height)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    return Fit((left, top, left + shorter, top + shorter), (side, side))


def _within(side: int, width: int, height: int) -> Fit:
    longer = max(width, height)
    target = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    return Fit((0, 0, width, height), target)


_FITS = {"stretch": _stretched, "crop": _cropped, "pad": _within}


def _decode(data: bytes, fits: Sequence[Callable[[int, int], Fit]], limits: Limits) -> list[Image.Image]:
    """Bytes to upright RGB pictures, the part and the size that each of `fits` says for the width and the height."""
    if not data:
        raise ImageError(Reason.EMPTY, "0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(Reason.TOO_MANY_BYTES, f"{len(data):,} bytes, the limit is {limits.max_bytes:,}")
    image = open_image(with_clear_end(data, limits), limits)
    frame = image.tile[0].extents if image.format == "GIF" else None
    box = avif.crop(data, *image.size) if image.format == "AVIF" else None
    # One and a half times the size that is wanted, so that the resize, not the DCT, decides how the picture looks.
    scale = 1.5 * max(_scale(fit(*image.size)) for fit in fits)
    with broken_file(limits):
        colors.prepare_transparency(image)
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        image.load()  # first: Pillow decodes when asked for metadata too, and then what is broken shows only once
    colors.drop_odd_metadata(image)
    orientation, profile = _orientation(image), _profile(data, image)
    whole = image.crop(box) if box else colors.without_empty_alpha(image)
    try:
        pictures = [shrink(whole, fit(*whole.size), frame, profile) for fit in fits]
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "shrinking needs more memory than there is") from error
    turn = _TRANSPOSE.get(orientation) if orientation else None
    return [picture.transpose(turn) for picture in pictures] if turn is not None else pictures


def _scale(fit: Fit) -> float:
    """By how much the part that is wanted is magnified along the side where that is more."""
    (left, top, right, bottom), (width, height) = fit
    return max(width / (right - left), height / (bottom - top))


def _profile(data: bytes, image: ImageFile.ImageFile) -> Profile | None:
    """The way from a file's colours to sRGB; None if they are sRGB, or nothing says what they are."""
    if image.format in ("AVIF", "HEIF"):
        return avif.conversion(data) or colors.profile_of(image)
    if image.format == "PNG":
        points = png.code_points(data)
        return conversion_of(points) if points else colors.profile_of(image) or png.gamma_conversion(data)
    return colors.profile_of(image)


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says, or XMP where EXIF says nothing or is broken. TIFFs have been turned by Pillow already."""
    if image.format == "TIFF":
        return None
    # Pillow reads the XMP, too, but not after it has come upon broken EXIF. A text chunk of a PNG may have its name.
    kinds = {"xmp": bytes, "XML:com.adobe.xmp": str}
    bare = Image.new("1", (1, 1))
    bare.info = {key: image.info[key] for key, kind in kinds.items() if isinstance(image.info.get(key), kind)}
    for source in (image, bare):
        with contextlib.suppress(*BROKEN_FILE):
            orientation = source.getexif().get(ExifTags.Base.Orientation)
            if orientation in range(1, 9):
                return orientation
    return None
