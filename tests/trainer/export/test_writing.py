from __future__ import annotations

from pathlib import Path

from catalogue import model_dir
from catalogue.model_dir.info import model_id
from trainer.export import writing


def test_the_id_changes_with_what_changes_a_prediction(tiny_model: Path) -> None:
    import dataclasses

    import keras

    info = model_dir.read(tiny_model).info
    assert model_id(info) == info.id == model_id(dataclasses.replace(info, created="later"))
    for other in ({"labels": info.labels[::-1]}, {"temperature": info.temperature + 0.1}, {"policy": info.policy + 1}):
        assert model_id(dataclasses.replace(info, **other)) != info.id
    network = keras.models.load_model(tiny_model / "model.keras")
    assert writing._network_hash(network) == info.network_hash
    kernel = network.trainable_weights[0]
    kernel.assign(kernel + 1e-3)
    assert writing._network_hash(network) != info.network_hash
    assert model_id(dataclasses.replace(info, network_hash=writing._network_hash(network))) != info.id
