"""Conversion of images in any Pillow mode to RGB in sRGB. Part of the image policy."""

from __future__ import annotations

import functools
import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageFile

_ROUNDING, _BAND_ROWS = 1, 64
# Two tags of TIFF 6.0, and a value of PhotometricInterpretation.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0

# Pillow's raw modes for 16-bit RGB in a PNG, which keep the high byte or the low byte of each value.
_HIGH_BYTES, _LOW_BYTES = "RGB;16B", "RGB;16L"
# Functions that scale the transparent gray value of a PNG to 8 bits, by raw mode. Pillow scales only the pixels.
_TRANSPARENT_TO_8_BITS = {
    "1": lambda value: value * 255,
    "L;2": lambda value: value * 85,
    "L;4": lambda value: value * 17,
}


def prepare_transparency(image: ImageFile.ImageFile) -> None:
    """Scale the transparent gray value to 8 bits, because Pillow scales only the pixels."""
    if "transparency" in image.info and image.tile:
        to_8_bits = _TRANSPARENT_TO_8_BITS.get(str(image.tile[0].args))
        if to_8_bits and not isinstance(image.info["transparency"], str):
            image.info["transparency"] = to_8_bits(image.info["transparency"])


def has_deep_transparent_color(image: ImageFile.ImageFile) -> bool:
    """Return whether an image that is not yet decoded has 16-bit RGB values and a transparent color."""
    return bool(image.tile) and image.tile[0].args == _HIGH_BYTES and "transparency" in image.info


def make_transparent(image: ImageFile.ImageFile, again: ImageFile.ImageFile) -> None:
    """Add an alpha channel to a decoded image: zero for pixels of the transparent color.

    Pillow keeps only the high byte of each value, so it confuses the transparent color with similar colors.

    Args:
        image: image for which `has_deep_transparent_color` was true.
        again: the same image, opened again and not yet decoded.
    """
    transparent = np.array(image.info.pop("transparency"))
    again.tile = [tile._replace(args=_LOW_BYTES) for tile in again.tile]
    again.load()
    opaque = Image.new("L", image.size)
    for top in range(0, image.height, _BAND_ROWS):
        band = (0, top, image.width, min(top + _BAND_ROWS, image.height))
        high, low = (np.asarray(own.crop(band)) for own in (image, again))
        other = ((high != transparent >> 8) | (low != transparent & 255)).any(axis=-1)
        opaque.paste(Image.fromarray(other.view(np.uint8) * np.uint8(255)), band)
    image.putalpha(opaque)


def drop_odd_metadata(image: ImageFile.ImageFile) -> None:
    """Remove a color profile or transparency of the wrong type from `image.info`.

    Pillow also stores the text chunks of a PNG there, and a chunk may be called ``transparency``. The profile tag of a
    TIFF may hold a number.
    """
    transparency = image.info.get("transparency")
    whole = isinstance(transparency, (int, bytes)) or (
        isinstance(transparency, tuple) and all(isinstance(value, int) for value in transparency)
    )
    if not whole or isinstance(transparency, tuple) != (image.mode == "RGB"):
        image.info.pop("transparency", None)
    if isinstance(transparency, bytes) and image.mode != "P":
        image.info.pop("transparency", None)
    if not isinstance(image.info.get("icc_profile"), bytes):
        image.info.pop("icc_profile", None)


def without_empty_alpha(image: Image.Image) -> Image.Image:
    """Drop the alpha channel of a fully transparent BMP, whose writer left the fourth byte of each pixel unused."""
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


def to_rgb(image: Image.Image, white: float) -> Image.Image:
    """Convert an image of any mode to RGB; `white` is the result of `white_of` for the whole image."""
    if _is_deep(image):
        image = _scale_to_8_bits(image, white)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image)
        image = background
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Return whether an image is gray with more than 8 bits; Pillow scales deep color images itself."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def white_of(image: Image.Image) -> float:
    """Return the value of white in an image; if zero is white (TIFF), return the value of black, negated.

    Deep images have 16 bits unless their TIFF tags state another depth. White is not defined for 32-bit values, so the
    smallest common white value that no pixel exceeds is returned.
    """
    if not _is_deep(image):
        return 255.0
    tags = getattr(image, "tag_v2", {})
    bits = (*tags.get(_BITS_PER_SAMPLE, ()), 16)[0]
    if bits < 32:
        white = 2.0**bits - 1
    else:
        values = _deep_values(image)
        highest = values.max(where=np.isfinite(values), initial=0)
        white = next((usual for usual in (1.0, 255.0, 65535.0) if highest <= usual), 2.0**32 - 1)
    return -white if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else white


def _deep_values(image: Image.Image) -> np.ndarray:
    """Return the values of an image with more than 8 bits; Pillow stores unsigned 32-bit values as signed."""
    values = np.asarray(image)
    return values.view(np.uint32) if values.dtype == np.int32 and image.mode == "I" else values


def _scale_to_8_bits(image: Image.Image, white: float) -> Image.Image:
    """Scale a gray image with more than 8 bits to 8 bits. Pillow's own conversion clips at 255 instead."""
    values = np.nan_to_num(_deep_values(image).astype(np.float64), nan=0.0, posinf=abs(white), neginf=0.0)
    scaled = np.rint(values.clip(0, abs(white)) * (255.0 / abs(white))).astype(np.uint8)
    gray = Image.fromarray(255 - scaled if white < 0 else scaled)
    if "transparency" in image.info:
        gray.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return gray


class IccProfile(NamedTuple):
    """Conversion to sRGB by an embedded profile, for images of one mode."""

    mode: str
    transform: ImageCms.ImageCmsTransform

    def to_srgb(self, picture: Image.Image) -> Image.Image:
        """Convert an RGB image, or a CMYK image if `mode` is CMYK, to sRGB."""
        converted = ImageCms.applyTransform(picture.convert(self.mode), self.transform)
        assert converted is not None  # None is returned only for in-place conversions
        return converted


def profile_of(image: Image.Image) -> IccProfile | None:
    """Return the embedded profile; None if it is missing or broken, means sRGB, or does not fit the image mode."""
    data = image.info.get("icc_profile")
    profile = _read_profile(data) if data else None
    if profile is None or (profile.mode == "CMYK") != (image.mode == "CMYK"):
        return None
    gray = _is_deep(image) or image.mode in ("1", "L", "LA")
    return profile if profile.mode != "L" or gray else None


def _changes_nothing(profile: IccProfile) -> bool:
    """Return whether a profile is equivalent to sRGB: it changes no tested color by more than `_ROUNDING`."""
    if profile.mode == "CMYK":
        return False
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    picture = Image.fromarray(colors).convert(profile.mode)
    before = np.asarray(picture.convert("RGB"), dtype=int)
    return bool(np.abs(np.asarray(profile.to_srgb(picture), dtype=int) - before).max() <= _ROUNDING)


@functools.lru_cache(maxsize=16)
def _read_profile(data: bytes) -> IccProfile | None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.ljust(4))
        if mode is None:
            return None
        found = IccProfile(mode, ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB"))
        return None if _changes_nothing(found) else found
    except (
        OSError,
        ValueError,
        ImageCms.PyCMSError,
    ):  # ignore broken profiles, as browsers do
        return None
