"""Weights of an earlier classifier, the ``model.keras`` of a model directory: its network, and its head if it fits."""

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
    """Gives a network the weights of the one in an earlier classifier.

    Args:
        network: of `trainer.networks.backbones`, without what prepares the pixels.
        name: of the backbone.
        file: ``model.keras``.

    Raises:
        UserError: it holds another network.
    """
    model = _classifier(file)
    found = next((layer for layer in model.layers if layer.name == name and isinstance(layer, keras.Model)), None)
    if found is None:
        raise UserError(f"{file} holds no {name} that train has written: give the --backbone it was trained with")
    before = found.layers[-1]
    if [weight.shape for weight in before.weights] != [weight.shape for weight in network.weights]:
        raise UserError(
            f"the {name} in {file} has weights of other shapes: give the same --image-size and --color-mode"
        )
    network.set_weights(before.get_weights())
    say(f"going on from the {name} in {file}, {len(network.weights):,} arrays of weights")


def load_head(head: keras.Model, labels: Sequence[str], file: str) -> bool:
    """Gives a head the weights of the one in an earlier classifier, if that has the same classes and layers.

    Args:
        head: of `trainer.networks.network.Network`.
        labels: of the classes, in order.
        file: ``model.keras``; ``model.json`` beside it tells its classes.

    Returns:
        Whether it has.
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
        raise UserError(f"{file} cannot be read as a model of Keras: {error}") from error
