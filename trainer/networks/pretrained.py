"""A pretrained network as it is: with the head and the 1,000 classes that it has from ImageNet. Nothing is fitted."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from catalogue.cli.errors import UserError
from trainer.networks import backbones
from trainer.networks.network import Network

CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Classes:
    """ImageNet's classes, in the order of the network.

    Attributes:
        names: what people call them; where two are called the same, each with its WordNet id.
        ids: of WordNet, such as ``n01440764``.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]

    def numbers_of(self, labels: Sequence[str]) -> np.ndarray:
        """The numbers of the classes that labels mean, by id or by name; -1 for any other label. Int [N]."""
        known = {_folded(name): number for names in (self.names, self.ids) for number, name in enumerate(names)}
        return np.array([known.get(_folded(label), -1) for label in labels], int)


def classes() -> Classes:
    """Reads the names, which Keras downloads once.

    Raises:
        UserError: they are not to be had.
    """
    try:
        decoded = keras.applications.imagenet_utils.decode_predictions(np.eye(CLASSES), top=1)
    except Exception as error:  # keras.utils.get_file raises Exception itself
        raise UserError(
            f"the names of ImageNet's classes were not read ({error}): connect to the network, or put "
            "imagenet_class_index.json into the models folder of KERAS_HOME (~/.keras)"
        ) from error
    found = [(identifier, name.replace("_", " ")) for ((identifier, name, _),) in decoded]
    count = collections.Counter(name for _, name in found)
    names = [f"{name} ({identifier})" if count[name] > 1 else name for identifier, name in found]
    return Classes(tuple(names), tuple(identifier for identifier, _ in found))


def build(name: str, weights: str, image_size: int, view_count: int = 1) -> Network:
    """Builds a network with its top.

    Args:
        name, weights, image_size, view_count: see `trainer.networks.backbones.build`.

    Raises:
        UserError: see there; or the weights are those of another number of classes.
    """
    keras.backend.clear_session()  # layers are numbered from one again: the same weights give the same model id
    backbone: keras.Model = backbones.build(name, weights, image_size, view_count=view_count, with_top=True)
    return Network.with_own_top(backbone)


def _folded(label: str) -> str:
    return label.replace("_", " ").casefold()
