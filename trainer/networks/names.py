"""Names, image sizes and default weights of networks, available without importing Keras."""

from __future__ import annotations

import dataclasses

IMAGENET, NONE = "imagenet", "none"
"""Values of ``--weights`` other than a file."""

COLOR_MODES = ("rgb", "grayscale")

NOTHING, EVERYTHING, TOP = "none", "all", "top"
"""Values of ``--fine-tune`` other than a layer: fine-tune nothing, the whole backbone, or the top of the backbone."""

OWN_IMAGE_SIZES = {
    "small": 96, "pixels": 28, "raw-pixels": 28, "convolutional": 28, "residual": 28, "alexnet": 227,
}  # fmt: skip
"""Default side of the images in pixels for each network of `trainer.networks.own`."""

_SIZES_OF_TOPS = {
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380, "EfficientNetB5": 456,
    "EfficientNetB6": 528, "EfficientNetB7": 600, "EfficientNetV2B1": 240, "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300, "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480,
    "InceptionV3": 299, "InceptionResNetV2": 299, "NASNetLarge": 331, "Xception": 299,
}  # fmt: skip
"""Sides in pixels of the images that networks of `keras.applications` with their tops were trained on, where not 224.

Keras has these sizes only after it has built the network."""


PREPARATIONS = ("none", "unit", "tf", "caffe", "torch")
"""Preprocessing of pixel values from 0 to 255: none; scaling to [0, 1]; scaling to [-1, 1]; BGR channel order with the
ImageNet mean subtracted; scaling to [0, 1], then standardization by the ImageNet mean and standard deviation. The last
three are modes of `keras.applications`."""

POOLINGS = ("max", "average", "none")


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of the network ``convolutional``.

    Attributes:
        convolutions: number of filters of each convolution.
        kernel: side of the filters in pixels.
        strides: stride of the filters in pixels.
        pooling: kind of 2 × 2 pooling after each convolution, one of `POOLINGS`.
    """

    convolutions: tuple[int, ...] = (32, 64, 128)
    kernel: int = 3
    strides: int = 1
    pooling: str = POOLINGS[0]


def is_own(name: str) -> bool:
    """Return whether a network is one of `trainer.networks.own`."""
    return name in OWN_IMAGE_SIZES


def default_image_size(name: str) -> int:
    """Return the default side of a network's images, in pixels."""
    return OWN_IMAGE_SIZES.get(name, 224)


def image_size_of_top(name: str) -> int:
    """Return the image side, in pixels, for which the pretrained top of a `keras.applications` network was trained."""
    return _SIZES_OF_TOPS.get(name, default_image_size(name))


def default_weights(name: str) -> str:
    """Return the default initial weights of a network."""
    return NONE if name in OWN_IMAGE_SIZES else IMAGENET
