"""The split of photos between training and validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalogue.cli.errors import UserError


def split_by_content(labels: Sequence[str], content_hashes: Sequence[str], fraction: float) -> np.ndarray:
    """Divides photos between training and validation by their content, class by class.

    A photo goes to validation if its hash lies in the lowest `fraction` of all hashes, so where it goes does not
    change when others are added or files are renamed, and identical files go together. A class that has none in
    validation by this rule gives the photo with its lowest hash; one that has none in training, that with its highest.

    Args:
        labels: of the N photos.
        content_hashes: SHA-256 of the N photos, hexadecimal.
        fraction: of the photos, between 0 and 1.

    Returns:
        bool [N], True for validation.

    Raises:
        UserError: a class has fewer than two different photos.
    """
    names, hashes = np.array(labels), np.array(content_hashes)
    mask = np.array([int(content_hash[:8], 16) < fraction * 2**32 for content_hash in content_hashes], bool)
    forced: dict[str, bool] = {}
    for label in np.unique(names):
        of_class = names == label
        own = np.unique(hashes[of_class])
        if len(own) < 2:
            count = f"{of_class.sum()} photos, all the same" if of_class.sum() > 1 else "one photo"
            raise UserError(
                f"class {str(label)!r} has {count}: it needs at least two different ones, or --validation-data"
            )
        if not mask[of_class].any():
            forced[own[0]] = True
        elif mask[of_class].all():
            forced[own[-1]] = False
    for content_hash, validates in forced.items():
        mask[hashes == content_hash] = validates  # in every class, so that identical files stay together
    return mask
