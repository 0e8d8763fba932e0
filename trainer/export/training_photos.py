"""``training_photos.npy``: by which photos a model was fitted, so that it is not measured on them by mistake.

The first 64 bits of the SHA-256 of each, in order: no photo can be made from them, and few bytes name many.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np

from catalogue.model_dir import ModelDir, ModelDirError

NAME = "training_photos.npy"


def content(content_hashes: Iterable[str]) -> bytes:
    """The content of the file.

    Args:
        content_hashes: SHA-256 of the photos, hexadecimal.
    """
    file = io.BytesIO()
    np.save(file, np.unique(np.array([int(own[:16], 16) for own in content_hashes], np.uint64)))
    return file.getvalue()


def count_known(model: ModelDir, content_hashes: Iterable[str]) -> int:
    """How many photos the model was fitted by; 0 if its directory does not tell.

    Args:
        model: its directory.
        content_hashes: SHA-256 of the photos, hexadecimal.

    Raises:
        ModelDirError: it is damaged.
    """
    if NAME not in model.info.files:
        return 0
    try:
        known = np.load(model.path / NAME, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{model.path}: {NAME} cannot be read ({error}); train the model again") from error
    return int(np.isin([int(own[:16], 16) for own in content_hashes], known).sum())
