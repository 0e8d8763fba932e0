"""Event files, which TensorBoard shows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from catalogue.cli.console import UserError


@contextlib.contextmanager
def written(folder: str | None) -> Iterator[Callable[[str, int, dict[str, float]], None]]:
    """Writes the curves of a run, for as long as the context lasts.

    Args:
        folder: at any path that `tf.io.gfile` can write; None to write nothing.

    Yields:
        What is to be called after each epoch of each stage, with the stage, the number of the epoch and its losses and
        accuracies, those of validation as ``val_NAME``. Each stage has a run for training and one for validation.

    Raises:
        UserError: nothing can be written there.
    """
    if folder is None:
        yield lambda stage, epoch, values: None
        return
    import tensorflow as tf

    try:
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(f"{folder.rstrip('/')}/.writable", "w") as file:
            file.write("")
        tf.io.gfile.remove(f"{folder.rstrip('/')}/.writable")
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"--log-dir {folder} cannot be written ({error}): choose another folder") from error
    writers: dict[str, Any] = {}
    metadata = tf.compat.v1.SummaryMetadata()  # as `tf.summary.scalar` has it, which needs TensorBoard installed
    metadata.plugin_data.plugin_name = "scalars"
    metadata.data_class = 1  # DATA_CLASS_SCALAR

    def write(stage: str, epoch: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            side = "validation" if name.startswith("val_") else "training"
            path = f"{folder.rstrip('/')}/{stage}/{side}"
            if path not in writers:
                writers[path] = tf.summary.create_file_writer(path)
            with writers[path].as_default():
                tag = f"epoch_{name.removeprefix('val_')}"
                tf.summary.write(tag, tf.constant(value, tf.float32), epoch, metadata)
        for writer in writers.values():
            writer.flush()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()
