"""Networks for training from scratch: small networks for small images, and AlexNet.

Each network returns features; dense layers belong to the head (``--hidden-units``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras

from trainer.networks.names import Layers


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A network for training from scratch.

    Attributes:
        build: function of the side of the images in pixels, the number of channels, and the layer settings. It returns
            a model: pixels [N, H, W, C], scaled by `prepare` -> features [N, D].
        scale, offset: factor and offset that `prepare` applies to pixels from 0 to 255.
    """

    build: Callable[[int, int, Layers], keras.Model]
    scale: float = 1 / 127.5
    offset: float = -1.0

    def prepare(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """Scale pixels from 0 to 255."""
        return keras.layers.Rescaling(self.scale, self.offset)(pixels)


def _convolution(
    x: keras.KerasTensor, filters: int, side: int = 3, *, strides: int = 1, activation: bool = True
) -> keras.KerasTensor:
    """Apply a convolution, batch norm and, with `activation`, ReLU."""
    x = keras.layers.Conv2D(filters, side, strides=strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)  # low, since there may be only a few hundred steps
    return keras.layers.ReLU()(x) if activation else x


def _small(image_size: int, channels: int, _: Layers) -> keras.Model:
    """Build five convolutions with 0.1 million parameters, for training on a few hundred images in a minute.

    The features keep their positions (they are flattened, not averaged): with so little data, the position of an edge
    is more informative than the number of edges.
    """
    images = keras.Input((image_size, image_size, channels))
    x = _convolution(images, 16, 5, strides=2)
    for filters in (32, 64, 96):
        x = keras.layers.MaxPooling2D(padding="same")(_convolution(x, filters))
    x = keras.layers.Conv2D(32, 1)(x)
    return keras.Model(images, keras.layers.Flatten()(x), name="small_convolutions")


def _pixels(image_size: int, channels: int, _: Layers) -> keras.Model:
    """Build a network whose features are the pixels."""
    images = keras.Input((image_size, image_size, channels))
    return keras.Model(images, keras.layers.Flatten()(images), name="flat_pixels")


def _convolutional(image_size: int, channels: int, layers: Layers) -> keras.Model:
    """Build alternating convolution and pooling layers, as in introductory tutorials."""
    x = images = keras.Input((image_size, image_size, channels))
    pool = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D, "none": None}[layers.pooling]
    for filters in layers.convolutions:
        x = keras.layers.Conv2D(filters, layers.kernel, strides=layers.strides, padding="same", activation="relu")(x)
        if pool:
            x = pool(2)(x)
    return keras.Model(images, keras.layers.Flatten()(x), name="convolutions")


def _residual(image_size: int, channels: int, _: Layers) -> keras.Model:
    """Build a residual network (He et al., CVPR 2016) for images of about 32 × 32 pixels.

    It has one residual block with 32 filters, one with 64 and two with 128.
    """
    x = images = keras.Input((image_size, image_size, channels))
    x = _convolution(x, 32)
    for filters, strides in ((32, 1), (64, 2), (128, 2), (128, 1)):
        inner = _convolution(_convolution(x, filters, strides=strides), filters, activation=False)
        if strides > 1:
            x = _convolution(keras.layers.AveragePooling2D(2, padding="same")(x), filters, 1, activation=False)
        x = keras.layers.ReLU()(keras.layers.Add()([x, inner]))
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x), name="residual_blocks")


def _alexnet(image_size: int, channels: int, _: Layers) -> keras.Model:
    """Build the convolutions of AlexNet (Krizhevsky et al., NIPS 2012), with batch norm for normalization."""
    x = images = keras.Input((image_size, image_size, channels))
    x = keras.layers.MaxPooling2D(3, strides=2)(_convolution(x, 96, 11, strides=4))
    x = keras.layers.MaxPooling2D(3, strides=2)(_convolution(x, 256, 5))
    for filters in (384, 384, 256):
        x = _convolution(x, filters)
    x = keras.layers.MaxPooling2D(3, strides=2)(x)
    return keras.Model(images, keras.layers.Flatten()(x), name="alexnet")


NETWORKS = {
    "small": OwnNetwork(_small),
    "pixels": OwnNetwork(_pixels, scale=1 / 255, offset=0.0),
    "raw-pixels": OwnNetwork(_pixels, scale=1.0, offset=0.0),
    "convolutional": OwnNetwork(_convolutional, scale=1 / 255, offset=0.0),
    "residual": OwnNetwork(_residual),
    "alexnet": OwnNetwork(_alexnet),
}
