"""`ImageSpec`, the images a network takes; `Limits`, the images that are too large; the version of the image policy."""

from __future__ import annotations

import dataclasses

POLICY = 3
# With 2, colours that a file describes by numbers were taken for sRGB, and some TIFFs were decoded wrongly.
COMPATIBLE_POLICIES = (2, POLICY)
RESIZE_RULES = ("crop", "pad", "stretch")  # the first is the default, see benchmarks/README.md
COLOR_SPACE = "sRGB"


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
