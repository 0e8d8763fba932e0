"""Converts decoded images of any mode to RGB and shrinks them, strip by strip to save memory."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from PIL import Image

from catalogue.images import colors

_STRIP_PIXELS = 1 << 20


class Fit(NamedTuple):
    """Part of an image to keep, (left, top, right, bottom), and the (width, height) that it is resized to."""

    box: tuple[int, int, int, int]
    target: tuple[int, int]


class Profile(Protocol):
    """Conversion to sRGB for images of one mode."""

    @property
    def mode(self) -> str:
        """Pillow mode of the images, such as RGB or CMYK."""

    def to_srgb(self, picture: Image.Image) -> Image.Image:
        """Convert an RGB image, or a CMYK image if `mode` is CMYK, to sRGB."""


def shrink(
    image: Image.Image, fit: Fit, frame: tuple[int, int, int, int] | None, profile: Profile | None
) -> Image.Image:
    """Return the requested part of a decoded image in RGB, at the requested size.

    Args:
        image: decoded image of any mode.
        fit: requested part and size.
        frame: part of the canvas that the first frame covers; None for the whole canvas.
        profile: conversion to sRGB; None if no conversion is needed.
    """
    (left, top, right, bottom), target = fit
    # First average whole blocks, down to at least 3 times the target size, then filter. This is as good as filtering
    # alone, and much faster.
    blocks = (max(1, (right - left) // (3 * target[0])), max(1, (bottom - top) // (3 * target[1])))
    white = colors.white_of(image)

    def converted(part: Image.Image) -> Image.Image:
        return part if profile and profile.mode == "CMYK" else colors.to_rgb(part, white)

    if blocks == (1, 1) and frame is None:  # most photos: strips would copy them three times without need
        is_whole = image.mode == "RGB" and (left, top, right, bottom) == (0, 0, *image.size)
        shrunk = converted(image if is_whole else image.crop((left, top, right, bottom)))
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
    """Paint everything outside the frame white; the coordinates of `frame` are relative to `part`."""
    box = (max(0, frame[0]), max(0, frame[1]), min(part.width, frame[2]), min(part.height, frame[3]))
    if box == (0, 0, *part.size):
        return part
    canvas = Image.new(part.mode, part.size, "white")
    if box[0] < box[2] and box[1] < box[3]:
        canvas.paste(part.crop(box), box[:2])
    return canvas
