"""Photos at the cut of a network."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.data.examples import Example
from trainer.data.identity import Contents, contents
from trainer.data.photos import Unreadable


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Photos at the cut of a network.

    Attributes:
        values: [N, ...], row by row those of `examples`: the activations at the cut, float16 where they are maps,
            float32 where they are features; the images uint8 if the cut is at the pixels.
        features: float32 [N, D] above the cut, as the backbone gives them before it is fine-tuned; None if they are
            not asked for, `values` itself if the cut is there.
        examples, content_hashes: of the N photos.
        unreadable: the examples that gave no photo.
    """

    values: np.ndarray
    features: np.ndarray | None
    examples: tuple[Example, ...]
    content_hashes: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def contents(self) -> Contents:
        """All photos with the hashes of their contents, also those that could not be read."""
        return contents(self.examples, self.content_hashes, self.unreadable)

    @property
    def labels(self) -> list[str]:
        """The labels of the N photos."""
        return [example.label for example in self.examples]
