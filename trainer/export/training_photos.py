"""``training_photos.npy``: hashes of the photos a model was fitted to, to warn if it is evaluated on the same photos.

The file holds the sorted first 64 bits of the SHA-256 of each photo. No photo can be recovered from them, and the file
is small.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np

from catalogue.model_dir import ModelDir, ModelDirError

NAME = "training_photos.npy"


def content(content_hashes: Iterable[str]) -> bytes:
    """Return the content of ``training_photos.npy``.

    Args:
        content_hashes: SHA-256 of the photos in hexadecimal.
    """
    file = io.BytesIO()
    np.save(file, np.unique(np.array([int(own[:16], 16) for own in content_hashes], np.uint64)))
    return file.getvalue()


def count_known(model: ModelDir, content_hashes: Iterable[str]) -> int:
    """Count the given photos that a model was fitted to; 0 if the model's directory has no ``training_photos.npy``.

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
