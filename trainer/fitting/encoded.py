"""Photos encoded as activations at the cut of a network."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.data.examples import Example
from trainer.data.identity import Contents, contents
from trainer.data.photos import Unreadable


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Photos encoded as activations at the cut of a network.

    Attributes:
        values: [N, ...], rows in the order of `examples`: activations at the cut, float16 for feature maps and float32
            for feature vectors; uint8 images if the cut is at the pixels.
        features: float32 [N, D], features of the backbone before fine-tuning: `values` itself if the cut is at the
            features; otherwise None if they were not requested.
        examples, content_hashes: examples and content hashes of the N photos.
        unreadable: examples whose photos cannot be read.
    """

    values: np.ndarray
    features: np.ndarray | None
    examples: tuple[Example, ...]
    content_hashes: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def contents(self) -> Contents:
        """All photos with the hashes of their contents, including unreadable photos."""
        return contents(self.examples, self.content_hashes, self.unreadable)

    @property
    def labels(self) -> list[str]:
        """Labels of the N photos."""
        return [example.label for example in self.examples]
