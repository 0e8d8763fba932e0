"""A model applied to photos."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import numpy as np

from catalogue.cli.progress import Progress
from catalogue.images.spec import ImageSpec, Limits
from trainer.data.examples import Example
from trainer.data.identity import Contents, contents
from trainer.data.photos import NO_IMAGE, Photo, Unreadable, read_photos

BATCH_SIZE = 32

Network = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, H, W, 3] -> probabilities float32 [N, K]."""


@dataclasses.dataclass(frozen=True)
class Classified:
    """The photos that could be read, with what the model says of them.

    Attributes:
        examples, content_hashes: of the N photos.
        probabilities: float32 [N, K].
        unreadable: the examples that gave no photo.
    """

    examples: tuple[Example, ...]
    content_hashes: tuple[str, ...]
    probabilities: np.ndarray
    unreadable: tuple[Unreadable, ...]

    @property
    def contents(self) -> Contents:
        """All photos with the hashes of their contents, also those that could not be read."""
        return contents(self.examples, self.content_hashes, self.unreadable)


def classify(
    examples: Iterable[Example],
    total: int,
    spec: ImageSpec,
    limits: Limits,
    probabilities: Network,
) -> Classified:
    """Reads and classifies examples.

    Args:
        examples: `total` of them.
        spec: the images the model takes.
        limits: which photos are too large.
        probabilities: uint8 [N, H, W, 3] -> float32 [N, K].
    """
    photos = read_photos(examples, spec, limits)
    good: list[Photo] = []
    rows: list[np.ndarray] = []
    unreadable: list[Unreadable] = []
    with Progress("classifying", total, "photos") as progress:
        while batch := list(itertools.islice(photos, BATCH_SIZE)):
            readable = [photo for photo in batch if isinstance(photo, Photo)]
            unreadable += [photo for photo in batch if isinstance(photo, Unreadable)]
            if readable:
                rows.append(probabilities(np.stack([photo.image for photo in readable])))
                good += [dataclasses.replace(photo, image=NO_IMAGE) for photo in readable]
            progress.advance(len(batch))
    return Classified(
        tuple(photo.example for photo in good),
        tuple(photo.content_hash for photo in good),
        np.concatenate(rows) if rows else np.zeros((0, 0), np.float32),
        tuple(unreadable),
    )
