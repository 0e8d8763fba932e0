"""`ImageSpec`, the input format of a network; `Limits`, the size limits of images; and the image policy version."""

from __future__ import annotations

import dataclasses

POLICY = 3
# Version 2 ignored code points and gamma, and decoded some TIFFs wrongly.
COMPATIBLE_POLICIES = (2, POLICY)
RESIZE_RULES = ("crop", "pad", "stretch")  # the first is the default, see docs/benchmarks.md
VIEW_SEPARATOR = ","
COLOR_SPACE = "sRGB"


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Format of the images that a network accepts.

    Attributes:
        size: pixels along each side.
        resize: rule for resizing an image to a square of this size. ``crop``: the largest central square; ``pad``: the
            whole image, with white bars; ``stretch``: the whole image, with a changed aspect ratio. Several rules, such
            as ``crop,pad``, produce several views of an image, which the network receives together.
        color_space: color space of the pixels, to which images in other color spaces are converted.
    """

    size: int
    resize: str = RESIZE_RULES[0]
    color_space: str = COLOR_SPACE

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"image size {self.size} is too small: use at least 8 pixels")
        unknown = [view for view in self.views if view not in RESIZE_RULES]
        if unknown:
            raise ValueError(f"unknown resize rule {unknown[0]!r}: choose from {', '.join(RESIZE_RULES)}")
        if len(set(self.views)) < len(self.views):
            raise ValueError(f"{self.resize!r} lists the same view twice: name each view once")
        if self.color_space != COLOR_SPACE:
            raise ValueError(f"unknown color space {self.color_space!r}: use {COLOR_SPACE}")

    @property
    def views(self) -> tuple[str, ...]:
        """Resize rules of the views, one or more."""
        return tuple(self.resize.split(VIEW_SEPARATOR))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an input image of the network, [H, W, 3], with the views stacked vertically."""
        return (len(self.views) * self.size, self.size, 3)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits that are checked before decoding: maximum bytes and pixels, and minimum pixels along the shorter side."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 4


DEFAULT_LIMITS = Limits()
