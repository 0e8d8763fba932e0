"""Image reader: decodes image files to uint8 pixels, identically for training and classification.

All rules about odd images are implemented in this package. An image is either decoded correctly, or rejected with an
`ImageError` that has a `Reason`; the result is never a partial image or a placeholder. This package uses Pillow and
NumPy, not TensorFlow.

The policy (its version is `POLICY`, which model directories record):

* the format is detected from the content, never from the name: JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, and HEIC with the
  extra ``heif``; for an animation, the first frame is read and composited onto the full canvas;
* file size, format and dimensions are checked before a pixel is decoded;
* large JPEGs are scaled in the DCT domain during decoding, never below 1.5 times the requested size;
* the orientation in EXIF or XMP is applied; transparency is composited over white; colors are converted to sRGB, by an
  embedded profile, code points, or gamma and chromaticities; CMYK in JPEGs is read with Adobe's inversion; channels of
  more than 8 bits are scaled, not clipped; gray becomes RGB;
* the image is resized to the network's input shape by one of `RESIZE_RULES`, bilinear with antialiasing; for a network
  with several views, it is decoded once and resized by the rule of each view.

Images are converted and shrunk strip by strip, so that an image needs little more memory than its own pixels. Only WebP
and the kinds of TIFF that `catalogue.images.tiff_samples` rewrites need more.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import ExifTags, Image, ImageFile

from catalogue.images import avif, bmp, colors, exif, png, tiff
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
    """Decode the bytes of an image file for a network.

    Args:
        data: content of the file.
        spec: input format of the network.
        limits: limits beyond which images are rejected.

    Returns:
        uint8 [H, W, 3], RGB, with the shape `spec.shape`.

    Raises:
        ImageError: the image cannot be decoded, or is outside the limits.
    """
    pictures = _decode(data, [functools.partial(_FITS[view], spec.size) for view in spec.views], limits)
    squares = [np.asarray(_on_square(picture, spec.size)) for picture in pictures]
    return squares[0] if len(squares) == 1 else np.concatenate(squares)


def _on_square(picture: Image.Image, side: int) -> Image.Image:
    """Center an image on a white square, unless it fills the square."""
    if picture.size == (side, side):
        return picture
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def read_thumbnail(data: bytes, side: int, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decode the bytes of an image file for display, keeping the aspect ratio of the image.

    Returns:
        uint8 [h, w, 3], RGB, with neither h nor w above `side`.

    Raises:
        ImageError: see `read_image`.
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
    """Decode bytes to upright RGB images, one for each of `fits`, which map width and height to a `Fit`."""
    if not data:
        raise ImageError(Reason.EMPTY, "0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(Reason.TOO_MANY_BYTES, f"{len(data):,} bytes, the limit is {limits.max_bytes:,}")
    image = open_image(with_clear_end(data, limits), limits)
    frame = image.tile[0].extents if image.format == "GIF" else None
    box = avif.crop(data, *image.size) if image.format == "AVIF" else None
    # 1.5 times the requested size, so that the resize, not the DCT, determines how the image looks.
    scale = 1.5 * max(_scale(fit(*image.size)) for fit in fits)
    with broken_file(limits):
        has_deep_color = colors.has_deep_transparent_color(image)
        colors.prepare_transparency(image)
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        image.load()  # before reading metadata, which may also decode: a decoding error is raised only once
        tiff.scale_palette(image)
        if has_deep_color:
            colors.make_transparent(image, open_image(data, limits))
    colors.drop_odd_metadata(image)
    orientation, profile = _orientation(image), _profile(data, image)
    whole = image.crop(box) if box else colors.without_empty_alpha(image)
    try:
        pictures = [shrink(whole, fit(*whole.size), frame, profile) for fit in fits]
    except MemoryError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, "not enough memory to shrink the image") from error
    turn = _TRANSPOSE.get(orientation) if orientation else None
    return [picture.transpose(turn) for picture in pictures] if turn is not None else pictures


def _scale(fit: Fit) -> float:
    """Return the factor by which the requested part is scaled: the larger of the horizontal and vertical factors."""
    (left, top, right, bottom), (width, height) = fit
    return max(width / (right - left), height / (bottom - top))


def _profile(data: bytes, image: ImageFile.ImageFile) -> Profile | None:
    """Return the conversion from a file's colors to sRGB; None if they are sRGB or unspecified."""
    if image.format in ("AVIF", "HEIF"):
        return avif.conversion(data) or colors.profile_of(image)
    if image.format == "PNG":
        points = png.code_points(data)
        return conversion_of(points) if points else colors.profile_of(image) or png.gamma_conversion(data)
    if image.format == "BMP" and (embedded := bmp.profile(data)):
        image.info["icc_profile"] = embedded
    return colors.profile_of(image)


def _orientation(image: Image.Image) -> int | None:
    """Return the orientation from EXIF, or else from XMP; None if it is missing, or if Pillow applied it (TIFF)."""
    if image.format == "TIFF":
        return None
    texts = (image.info.get(f"Raw profile type {kind}") for kind in ("exif", "APP1"))
    for data in (image.info.get("exif"), *(exif.from_text(text) for text in texts if isinstance(text, str))):
        found = exif.orientation(data) if isinstance(data, bytes) else None
        if found:
            return found
    kinds = {"xmp": bytes, "XML:com.adobe.xmp": str}  # a text chunk of a PNG may have the same key
    bare = Image.new("1", (1, 1))
    bare.info = {key: image.info[key] for key, kind in kinds.items() if isinstance(image.info.get(key), kind)}
    with contextlib.suppress(*BROKEN_FILE):
        orientation = bare.getexif().get(ExifTags.Base.Orientation)
        if orientation in range(1, 9):
            return orientation
    return None
