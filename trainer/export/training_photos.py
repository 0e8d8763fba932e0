"""``training_photos.npy``: hashes of the photos a model was fitted to, so that it is not measured on them by mistake.

The file holds the first 64 bits of the SHA-256 of each photo, sorted: no photo can be recovered from them, and the file
stays small.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np

from catalogue.model_dir import ModelDir, ModelDirError

NAME = "training_photos.npy"


def content(content_hashes: Iterable[str]) -> bytes:
    """Return the content of the file.

    Args:
        content_hashes: SHA-256 of the photos in hexadecimal.
    """
    file = io.BytesIO()
    np.save(file, np.unique(np.array([int(own[:16], 16) for own in content_hashes], np.uint64)))
    return file.getvalue()


def count_known(model: ModelDir, content_hashes: Iterable[str]) -> int:
    """Count the photos that the model was fitted to; 0 if its directory does not list any.

    Args:
        model: model directory.
        content_hashes: SHA-256 of the photos in hexadecimal.

    Raises:
        ModelDirError: the file is damaged.
    """
    if NAME not in model.info.files:
        return 0
    try:
        known = np.load(model.path / NAME, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{model.path}: {NAME} cannot be read ({error}): train the model again") from error
    return int(np.isin([int(own[:16], 16) for own in content_hashes], known).sum())
