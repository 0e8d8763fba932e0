"""Pretrained networks with their own tops for the 1,000 ImageNet classes, used without training."""

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
    """ImageNet's classes, in the order of the network's outputs.

    Attributes:
        names: class names; a name that two classes share is followed by the WordNet id.
        ids: WordNet ids, such as ``n01440764``.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]

    def numbers_of(self, labels: Sequence[str]) -> np.ndarray:
        """Return the class index of each label, int [N]: matched by name or id, ignoring case; -1 if unknown."""
        known = {_folded(name): number for names in (self.names, self.ids) for number, name in enumerate(names)}
        return np.array([known.get(_folded(label), -1) for label in labels], int)


def classes() -> Classes:
    """Read ImageNet's classes from a file that Keras downloads once.

    Raises:
        UserError: the file is unavailable.
    """
    try:
        decoded = keras.applications.imagenet_utils.decode_predictions(np.eye(CLASSES), top=1)
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise UserError(
            f"the names of ImageNet's classes cannot be read ({error}): connect to the internet, or put "
            "imagenet_class_index.json in the models folder of KERAS_HOME (default: ~/.keras)"
        ) from error
    found = [(identifier, name.replace("_", " ")) for ((identifier, name, _),) in decoded]
    count = collections.Counter(name for _, name in found)
    names = [f"{name} ({identifier})" if count[name] > 1 else name for identifier, name in found]
    return Classes(tuple(names), tuple(identifier for identifier, _ in found))


def build(name: str, weights: str, image_size: int, view_count: int = 1) -> Network:
    """Build a network of `keras.applications` with its top.

    Args:
        name, weights, image_size, view_count: arguments of `trainer.networks.backbones.build`.

    Raises:
        UserError: an argument is invalid, see `trainer.networks.backbones.build`, or the weights are for another number
            of classes.
    """
    keras.backend.clear_session()  # restarts the layer numbering, so that the same weights yield the same model id
    backbone: keras.Model = backbones.build(name, weights, image_size, view_count=view_count, with_top=True)
    return Network.with_own_top(backbone)


def _folded(label: str) -> str:
    return label.replace("_", " ").casefold()
