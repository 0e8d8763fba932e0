"""Inference: reading photos and classifying them in batches."""

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
    """The photos that could be read, with their predictions.

    Attributes:
        examples, content_hashes: examples and content hashes of the N photos.
        probabilities: float32 [N, K].
        unreadable: examples that could not be read.
    """

    examples: tuple[Example, ...]
    content_hashes: tuple[str, ...]
    probabilities: np.ndarray
    unreadable: tuple[Unreadable, ...]

    @property
    def contents(self) -> Contents:
        """URIs and content hashes of all photos, including unreadable ones."""
        return contents(self.examples, self.content_hashes, self.unreadable)


def classify(
    examples: Iterable[Example],
    total: int,
    spec: ImageSpec,
    limits: Limits,
    probabilities: Network,
) -> Classified:
    """Read and classify examples.

    Args:
        examples: examples to classify.
        total: number of examples, for the progress bar.
        spec: image spec of the model.
        limits: size limits of the photos.
        probabilities: the model as a function, uint8 [N, H, W, 3] -> float32 [N, K].
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
