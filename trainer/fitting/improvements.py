"""Keeps the network of each epoch that was the best so far, as a file of Keras."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras

from catalogue import storage
from catalogue.cli.logs import say
from catalogue.reasons import StorageError

Improved = Callable[[str, int, dict[str, float]], None]
"""Is called with the stage, the number of the epoch and what was measured, while the network has its weights."""


def kept(folder: str | None, classifier: Callable[[], keras.Model]) -> Improved | None:
    """A function that keeps a network as ``STAGE-EPOCH-ACCURACY.keras``; None if there is no folder for it.

    Args:
        folder: local or remote.
        classifier: makes the whole network, uint8 images to probabilities, which are not calibrated.
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
                say(f"warning: --improvements {folder} cannot be written, going on without {name}: {error.message}")

    return keep
