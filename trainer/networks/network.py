"""A classifier: its frozen and trainable parts, and the whole model that is exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from trainer.networks import cutting
from trainer.networks.names import EVERYTHING, NOTHING, TOP
from trainer.networks.nodes import in_order

_LEAST_PROBABILITY = 1e-30


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone, cut in two, with a head.

    Attributes:
        backbone: the whole backbone, uint8 images [N, H, W, 3] -> features [N, D].
        lower: the frozen part, images -> activations at the cut. None if the cut is at the pixels.
        upper: the fine-tuned part, activations at the cut -> features. None if the cut is at the features.
        head: features -> logits float32 [N, K]; trained, unless the backbone has its own top.
        cut: the layer after which the backbone is cut; ``none`` if the whole backbone is frozen, ``all`` if it is all
            fine-tuned.
    """

    backbone: keras.Model
    lower: keras.Model | None
    upper: keras.Model | None
    head: keras.Model
    cut: str

    @classmethod
    def on(
        cls,
        backbone: keras.Model,
        classes: int,
        *,
        fine_tune: str = NOTHING,
        hidden_units: Sequence[int] = (),
        dropout: float = 0.0,
        freeze_batch_norm: bool = False,
    ) -> Network:
        """Put a head on a backbone.

        Args:
            backbone: backbone from `trainer.networks.backbones.build`.
            classes: number of logits.
            fine_tune: ``none``, ``all``, ``top`` (see `trainer.networks.cutting.default_cut`), or the layer above which
                the backbone is fine-tuned.
            hidden_units: sizes of the dense layers before the last one.
            dropout: dropout rate before every dense layer except the first hidden one.
            freeze_batch_norm: whether batch norm layers keep their statistics, scales and offsets.

        Raises:
            UserError: the backbone cannot be cut at `fine_tune`.
        """
        cut = cutting.default_cut(backbone) if fine_tune == TOP else fine_tune
        lower, upper = {NOTHING: (backbone, None), EVERYTHING: (None, backbone)}.get(cut) or cutting.split(
            backbone, cut
        )
        if lower is not None:
            lower.trainable = False
        if upper is not None and freeze_batch_norm:
            _freeze_batch_norm(upper)
        return cls(backbone, lower, upper, _head(backbone.output_shape[1], classes, hidden_units, dropout), cut)

    @classmethod
    def with_own_top(cls, backbone: keras.Model, *, gives_probabilities: bool = False) -> Network:
        """Wrap a network that has its own top, with logits or probabilities as outputs; nothing is trained."""
        outputs = keras.Input(backbone.output_shape[1:], name="features")
        backbone.trainable = False
        logits = keras.ops.log(keras.ops.maximum(outputs, _LEAST_PROBABILITY)) if gives_probabilities else outputs
        head = keras.Model(outputs, keras.layers.Activation("linear", dtype="float32", name="logits")(logits))
        return cls(backbone, backbone, None, head, NOTHING)

    def layers(self) -> Iterator[dict[str, Any]]:
        """Describe the layers of the backbone and the head, in order.

        Yields:
            For each layer: name, kind, output shape, number of parameters, input layers, and whether it is trained.
        """
        last: list[str] = []
        for part in (self.backbone.layers[-1], self.head):
            nodes = in_order(part)
            for number, node in enumerate(nodes):
                layer = node.operation
                sources = [tensor._keras_history.operation.name for tensor in node.input_tensors]
                yield {
                    "name": layer.name,
                    "kind": type(layer).__name__,
                    "output": list(node.outputs[0].shape[1:]),
                    "parameters": layer.count_params() if hasattr(layer, "count_params") else 0,
                    "inputs": sources if number else last,
                    "fitted": bool(getattr(layer, "trainable_variables", ())),
                }
            last = [nodes[-1].operation.name]

    @property
    def fitted(self) -> keras.Model:
        """The trained part, from the cut to the logits; it shares the layers of `upper` and `head`."""
        if self.upper is None:
            return self.head
        inputs = keras.Input(self.upper.input_shape[1:], dtype=self.upper.input.dtype, name="cut")
        return keras.Model(inputs, self.head(self.upper(inputs)), name="fitted")

    def calibrated(self, temperature: float) -> keras.Model:
        """Return the whole classifier, with the logits divided by `temperature`.

        Returns:
            uint8 [N, H, W, 3] -> probabilities float32 [N, K].
        """
        images = keras.Input(self.backbone.input_shape[1:], dtype="uint8", name="images")
        scaled = keras.layers.Rescaling(1 / temperature, name="temperature")(self.head(self.backbone(images)))
        return keras.Model(images, keras.layers.Softmax(name="probabilities")(scaled), name="classifier")


def _head(features: int, classes: int, hidden_units: Sequence[int], dropout: float) -> keras.Model:
    x = inputs = keras.Input((features,), name="features")
    for number, units in enumerate(hidden_units):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number + 1}")(x)
        x = keras.layers.Dropout(dropout)(x)
    if not hidden_units:
        x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, dtype="float32", name="logits")(x), name="head")


def _freeze_batch_norm(model: keras.Model) -> None:
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
