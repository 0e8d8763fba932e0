from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue import storage
from tests.conftest import ObjectStore
from trainer.fitting import events


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Read the scalars of the only event file in a folder: (tag, step) -> value."""
    import tensorflow as tf

    (file,) = folder.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_event_files_have_the_curves_of_each_stage(tmp_path: Path) -> None:
    """The files can be read while the run is in progress."""
    with events.written(f"{tmp_path}/") as write:
        write("head", 1, {"loss": 2.0, "accuracy": 0.25, "val_loss": 3.0, "val_accuracy": 0.5})
        write("head", 2, {"loss": 1.0, "accuracy": 0.75, "val_loss": 2.5, "val_accuracy": 0.625})
        assert scalars(tmp_path / "head/validation")["epoch_accuracy", 2] == 0.625
        write("network", 1, {"loss": 0.5})
    assert scalars(tmp_path / "head/training") == {
        ("epoch_loss", 1): 2.0, ("epoch_accuracy", 1): 0.25, ("epoch_loss", 2): 1.0, ("epoch_accuracy", 2): 0.75,
    }  # fmt: skip
    assert scalars(tmp_path / "network/training") == {("epoch_loss", 1): pytest.approx(0.5)}


def test_without_a_folder_nothing_is_written() -> None:
    with events.written(None) as write:
        write("head", 1, {"loss": 2.0})


def test_event_files_are_uploaded_after_each_epoch(
    tmp_path: Path, open_object_store: Callable[[str], ObjectStore]
) -> None:
    root = open_object_store("s3").root
    with events.written(root) as write:
        for epoch in (1, 2):
            write("head", epoch, {"loss": 2.0 / epoch})
            (file,) = storage.list_files(f"{root}/head/training")
            storage.copy(file.location, str(tmp_path / f"{epoch}/events"))
            assert scalars(tmp_path / str(epoch))["epoch_loss", epoch] == 2.0 / epoch
