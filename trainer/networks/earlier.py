"""Loading of the weights of a backbone and a head from the ``model.keras`` of an earlier classifier."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras

from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.model_dir import INFO_FILE

ENDING = ".keras"


def load_network(network: keras.Model, name: str, file: str) -> None:
    """Load the weights of a network from an earlier classifier.

    Args:
        network: network inside a backbone of `trainer.networks.backbones`, without the preprocessing.
        name: name of the backbone.
        file: path of ``model.keras``.

    Raises:
        UserError: the file cannot be read, or has another backbone, or weights of other shapes.
    """
    model = _classifier(file)
    found = next((layer for layer in model.layers if layer.name == name and isinstance(layer, keras.Model)), None)
    if found is None:
        raise UserError(f"{file} contains no backbone {name} written by train: give the --backbone it was trained with")
    before = found.layers[-1]
    if [weight.shape for weight in before.weights] != [weight.shape for weight in network.weights]:
        raise UserError(
            f"the weights of backbone {name} in {file} have other shapes: give the --image-size, --color-mode and, for "
            "convolutional, --convolutions and --kernel that the model was trained with"
        )
    network.set_weights(before.get_weights())
    say(f"starting from the weights of backbone {name} in {file}: {len(network.weights):,} arrays")


def load_head(head: keras.Model, labels: Sequence[str], file: str) -> bool:
    """Load the weights of a head from an earlier classifier, if its classes and weight shapes are the same.

    Args:
        head: head of `trainer.networks.network.Network`.
        labels: class names in order.
        file: path of ``model.keras``; its classes are read from ``model.json`` beside it.

    Returns:
        Whether the weights were loaded.

    Raises:
        UserError: the classes are the same, but the file cannot be read as a Keras model.
    """
    try:
        known = json.loads(Path(file).with_name(INFO_FILE).read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    if list(labels) != known:
        return False
    before = _classifier(file).get_layer("head")
    if [weight.shape for weight in before.weights] != [weight.shape for weight in head.weights]:
        return False
    head.set_weights(before.get_weights())
    return True


def _classifier(file: str) -> keras.Model:
    try:
        return keras.models.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read as a Keras model: {error}") from error
