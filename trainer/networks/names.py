"""What is known of networks without building them: names, image sizes, weights. Keras is not imported."""

from __future__ import annotations

import dataclasses

IMAGENET, NONE = "imagenet", "none"
"""Weights to start from, besides a file."""

COLOR_MODES = ("rgb", "grayscale")

NOTHING, EVERYTHING, TOP = "none", "all", "top"
"""What of a backbone is trained, besides all that is above a layer."""

OWN_IMAGE_SIZES = {
    "small": 96, "pixels": 28, "raw-pixels": 28, "convolutional": 28, "residual": 28, "alexnet": 227,
}  # fmt: skip
"""The networks of `trainer.networks.own`, and the side in pixels of the images each takes by default."""

_SIZES_OF_TOPS = {
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380, "EfficientNetB5": 456,
    "EfficientNetB6": 528, "EfficientNetB7": 600, "EfficientNetV2B1": 240, "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300, "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480,
    "InceptionV3": 299, "InceptionResNetV2": 299, "NASNetLarge": 331, "Xception": 299,
}  # fmt: skip
"""Where they differ from 224. Keras knows them only once it has built the network."""


PREPARATIONS = ("none", "unit", "tf", "caffe", "torch")
"""What networks want done to pixels from 0 to 255: nothing; from 0 to 1; from -1 to 1; the order BGR, less the mean of
ImageNet; from 0 to 1, less its mean and divided by its deviation. The last three are those of `keras.applications`."""

POOLINGS = ("max", "average", "none")


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of the network ``convolutional``.

    Attributes:
        convolutions: how many filters each has.
        kernel: the side of the filters in pixels.
        strides: by how many pixels they move.
        pooling: after each convolution, over 2 × 2, one of `POOLINGS`.
    """

    convolutions: tuple[int, ...] = (32, 64, 128)
    kernel: int = 3
    strides: int = 1
    pooling: str = POOLINGS[0]


def is_own(name: str) -> bool:
    """Whether a network is one of `trainer.networks.own`."""
    return name in OWN_IMAGE_SIZES


def default_image_size(name: str) -> int:
    """The side in pixels of the images a network is fed where the user does not say."""
    return OWN_IMAGE_SIZES.get(name, 224)


def image_size_of_top(name: str) -> int:
    """The side in pixels of the images that a network of `keras.applications` with its top was fitted to."""
    return _SIZES_OF_TOPS.get(name, default_image_size(name))


def default_weights(name: str) -> str:
    """The weights a network starts from where the user does not say."""
    return NONE if name in OWN_IMAGE_SIZES else IMAGENET
