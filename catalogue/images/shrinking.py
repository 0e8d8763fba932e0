"""Loaded pictures in any mode to RGB in the size that is wanted, strip by strip, so that little memory is needed."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from PIL import Image

from catalogue.images import colors

_STRIP_PIXELS = 1 << 20


class Fit(NamedTuple):
    """Which part of a picture is wanted, (left, top, right, bottom), and the (width, height) it is brought to."""

    box: tuple[int, int, int, int]
    target: tuple[int, int]


class Profile(Protocol):
    """A way to sRGB for pictures of one mode, RGB or CMYK."""

    @property
    def mode(self) -> str:
        """RGB or CMYK."""

    def to_srgb(self, picture: Image.Image) -> Image.Image:
        """A picture in RGB, or in CMYK if that is the mode, to RGB."""


def shrink(
    image: Image.Image, fit: Fit, frame: tuple[int, int, int, int] | None, profile: Profile | None
) -> Image.Image:
    """The wanted part of a loaded picture in RGB, in the size that is wanted.

    Args:
        image: in any mode.
        fit: what is wanted.
        frame: the part of the canvas that has been drawn on; all of it if None.
        profile: the way to sRGB; None if the picture is in sRGB.
    """
    (left, top, right, bottom), target = fit
    # Averages of whole blocks first, and three times the size at least left to the filter: as good, and much faster.
    blocks = (max(1, (right - left) // (3 * target[0])), max(1, (bottom - top) // (3 * target[1])))
    white = colors.white_of(image)

    def converted(part: Image.Image) -> Image.Image:
        return part if profile and profile.mode == "CMYK" else colors.to_rgb(part, white)

    if blocks == (1, 1) and frame is None:  # most photos, which strips would copy three times for nothing
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
    """White wherever a part of a picture lies outside its frame."""
    box = (max(0, frame[0]), max(0, frame[1]), min(part.width, frame[2]), min(part.height, frame[3]))
    if box == (0, 0, *part.size):
        return part
    canvas = Image.new(part.mode, part.size, "white")
    if box[0] < box[2] and box[1] < box[3]:
        canvas.paste(part.crop(box), box[:2])
    return canvas
