"""Near-duplicates: photos of which one is another one stored anew, a little larger, smaller or darker, or taken again.

Found by the features that a pretrained network gives. Measured on 3,409 photos of clothes with `MobileNetV2`: of the
5.8 million pairs two are above the threshold, a photo that is there twice and a skirt that was photographed twice; the
next pair, at 0.87, shows two T-shirts. Saved again as JPEG with quality 75 all photos are above it, with quality 50
99 %, at half the size 84 %, mirrored 83 %.
"""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np

from catalogue.cli.progress import Progress
from trainer.data.groups import components

THRESHOLD = 0.9
MOST_PHOTOS = 100_000
_PHOTOS_IN_SECONDS = 20_000  # fewer are compared before anybody looks for progress
_MOST_SHARE, _MOST_PAIRS = 0.5, 10
_MOST_VALUES = 20_000_000  # at a time, 80 MB


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Near-duplicates among N photos.

    Attributes:
        pairs: int [P, 2], their rows, the most alike first.
        count: N.
    """

    pairs: np.ndarray
    count: int

    @property
    def groups(self) -> np.ndarray:
        """Int [N]: photos that are near-duplicates, directly or by way of others, have the same number."""
        return components(self.count, self.pairs.tolist())


def near_duplicates(features: np.ndarray) -> Duplicates:
    """Finds pairs whose features, less their mean, have a cosine of at least `THRESHOLD`.

    Args:
        features: float [N, D].

    Returns:
        None of them where they would say nothing: among more than `MOST_PHOTOS`, which would take too long, and where
        more than half of the photos resemble others so, as drawings may.
    """
    count = len(features)
    nothing = Duplicates(np.zeros((0, 2), int), count)
    if not 2 <= count <= MOST_PHOTOS:
        return nothing
    centred = np.asarray(features, np.float32) - np.mean(features, axis=0, dtype=np.float64).astype(np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    block, found = max(1, _MOST_VALUES // count), list[np.ndarray]()
    with contextlib.ExitStack() as stack:
        slow = count > _PHOTOS_IN_SECONDS
        progress = stack.enter_context(Progress("looking for near-duplicates", count, "photos")) if slow else None
        for start in range(0, count, block):
            similar = centred[start : start + block] @ centred[start:].T
            here, there = np.nonzero(np.triu(similar >= THRESHOLD, 1))
            found.append(np.stack([here + start, there + start, similar[here, there]], axis=1))
            if sum(map(len, found)) > _MOST_PAIRS * count:
                return nothing
            if progress:
                progress.advance(len(similar))
    pairs = np.concatenate(found)
    pairs = pairs[np.argsort(-pairs[:, 2], kind="stable"), :2].astype(int)
    return nothing if len(np.unique(pairs)) > _MOST_SHARE * count else Duplicates(pairs, count)
