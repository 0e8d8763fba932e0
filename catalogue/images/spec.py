"""`ImageSpec`, the images a network takes; `Limits`, the images that are too large; the version of the image policy."""

from __future__ import annotations

import dataclasses

POLICY = 3
# With 2, colours that a file describes by numbers were taken for sRGB, and some TIFFs were decoded wrongly.
COMPATIBLE_POLICIES = (2, POLICY)
RESIZE_RULES = ("crop", "pad", "stretch")  # the first is the default, see benchmarks/README.md
VIEW_SEPARATOR = ","
COLOR_SPACE = "sRGB"


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """The images a network takes.

    Attributes:
        size: pixels along each side.
        resize: how a picture is brought to that square. ``crop``: the largest square in its middle; ``pad``: whole,
            with white beside it; ``stretch``: whole, its proportions changed. Several of them, as in ``crop,pad``,
            are views of one picture, which the network takes together.
        color_space: what the colours mean; pictures with an embedded profile are converted to it.
    """

    size: int
    resize: str = RESIZE_RULES[0]
    color_space: str = COLOR_SPACE

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"an image size of {self.size} is too small: at least 8 pixels")
        unknown = [view for view in self.views if view not in RESIZE_RULES]
        if unknown:
            raise ValueError(f"unknown resize rule {unknown[0]!r}: one of {', '.join(RESIZE_RULES)}")
        if len(set(self.views)) < len(self.views):
            raise ValueError(f"the same view twice in {self.resize!r}")
        if self.color_space != COLOR_SPACE:
            raise ValueError(f"unknown colour space {self.color_space!r}: only {COLOR_SPACE}")

    @property
    def views(self) -> tuple[str, ...]:
        """The resize rules of the views, one or more."""
        return tuple(self.resize.split(VIEW_SEPARATOR))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image as the network takes it, [H, W, 3]: its views one below the other."""
        return (len(self.views) * self.size, self.size, 3)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that are checked before anything is decoded: bytes, pixels in all, pixels along the shorter side."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 4


DEFAULT_LIMITS = Limits()
