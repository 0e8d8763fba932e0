"""Training curves as TensorBoard event files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.reasons import StorageError

Watch = Callable[[str, int, dict[str, float]], None]
"""Callback after each epoch of each stage. It receives the stage, the epoch number, and the losses and accuracies;
validation metrics are named ``val_NAME``."""


@contextlib.contextmanager
def written(folder: str | None) -> Iterator[Watch]:
    """Yield a callback that writes training curves; each stage becomes two TensorBoard runs, training and validation.

    Args:
        folder: local or remote folder; None to write nothing.

    Raises:
        UserError: the folder cannot be written, which is checked at the start.
    """
    if folder is None:
        yield lambda stage, epoch, values: None
        return
    folder = folder.rstrip("/")
    try:
        storage.write_bytes(f"{folder}/.writable", b"")
        storage.remove(f"{folder}/.writable")
    except StorageError as error:
        raise UserError(f"--log-dir {folder} cannot be written ({error.message}): choose another folder") from error
    with contextlib.ExitStack() as stack:
        local = folder
        if storage.is_remote(folder):  # TensorFlow writes local files, which are uploaded after each epoch
            local = stack.enter_context(tempfile.TemporaryDirectory(prefix="events-"))
        writer = _Writer(Path(local))
        stack.callback(writer.close)

        def watch(stage: str, epoch: int, values: dict[str, float]) -> None:
            writer.write(stage, epoch, values)
            if local != folder:
                for file in storage.list_files(local):
                    storage.copy(file.location, f"{folder}/{os.path.relpath(file.location, local)}")

        yield watch


class _Writer:
    """Writer of event files below a local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._writers = folder, dict[Path, Any]()
        self._metadata = tf.compat.v1.SummaryMetadata()  # the metadata of `tf.summary.scalar`, which needs TensorBoard
        self._metadata.plugin_data.plugin_name = "scalars"
        self._metadata.data_class = 1  # DATA_CLASS_SCALAR

    def write(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            path = self._folder / stage / ("validation" if name.startswith("val_") else "training")
            if path not in self._writers:
                self._writers[path] = tf.summary.create_file_writer(str(path))
            with self._writers[path].as_default():
                tag = f"epoch_{name.removeprefix('val_')}"
                tf.summary.write(tag, tf.constant(value, tf.float32), epoch, self._metadata)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
