"""Selection of the golden images, with which a model directory is checked."""

from __future__ import annotations

import collections

import numpy as np

from catalogue.images.spec import ImageSpec, Limits
from catalogue.model_dir import GOLDEN_MARGIN
from trainer.data.examples import Example
from trainer.data.photos import Photo, read_photo
from trainer.evaluation.evaluated import Evaluated

GOLDEN_IMAGES = 16


def golden_images(validation: Evaluated, spec: ImageSpec, limits: Limits) -> np.ndarray:
    """Select up to `GOLDEN_IMAGES` photos, taking the classes in turn: uint8 [G, H, W, 3].

    The gap between the top two probabilities of each photo is at least `GOLDEN_MARGIN`. If too few photos have such a
    gap, the photos with the largest gaps are selected.
    """
    second, first = np.sort(validation.probabilities, axis=1)[:, -2:].T
    margins = first - second
    count = max(int((margins >= GOLDEN_MARGIN).sum()), GOLDEN_IMAGES)
    seen: collections.Counter[int] = collections.Counter()
    ranked = []
    for row in np.sort(np.argsort(-margins, kind="stable")[:count]).tolist():
        label = validation.truth[row]
        ranked.append((seen[label], validation.uris[row]))
        seen[label] += 1
    chosen = [Example(path, "") for _, path in sorted(ranked, key=lambda item: item[0])[:GOLDEN_IMAGES]]
    photos = [read_photo(example, spec, limits) for example in chosen]
    return np.stack([photo.image for photo in photos if isinstance(photo, Photo)])
