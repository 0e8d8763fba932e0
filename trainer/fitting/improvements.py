"""Keras files with the network of each new best epoch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras

from catalogue import storage
from catalogue.cli.logs import say
from catalogue.reasons import StorageError

Improved = Callable[[str, int, dict[str, float]], None]
"""Callback for a new best epoch. It receives the stage, the epoch number and the metrics while the network has the
weights of that epoch."""


def kept(folder: str | None, classifier: Callable[[], keras.Model]) -> Improved | None:
    """Return a callback that saves the network of each new best epoch as ``STAGE-EPOCH-ACCURACY.keras``.

    Args:
        folder: local or remote folder; None to save nothing.
        classifier: builder of the whole network, from uint8 images to uncalibrated probabilities.

    Returns:
        The callback; None if `folder` is None.
    """
    if folder is None:
        return None

    def keep(stage: str, epoch: int, values: dict[str, float]) -> None:
        name = f"{stage}-{epoch:03}-{values['val_accuracy']:.4f}.keras"
        with tempfile.TemporaryDirectory(prefix="improvement-") as local:
            file = Path(local, name)
            classifier().save(file)
            try:
                storage.write_bytes(f"{folder.rstrip('/')}/{name}", file.read_bytes())
            except StorageError as error:
                say(f"warning: --improvements {folder} cannot be written, continuing without {name}: {error.message}")

    return keep
