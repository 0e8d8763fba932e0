from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class Features:
    """`MobileNetV2` features of every third real training photo of clothes.

    Attributes:
        files: paths of the N photos.
        labels: labels of the N photos, int [N].
        values: features, float32 [N, 1280].
        of: function that computes the features of encoded images.
    """

    files: list[Path]
    labels: np.ndarray
    values: np.ndarray
    of: Callable[[list[bytes]], np.ndarray]


@pytest.fixture(scope="session")
def features(clothing: Path, keras_home: Path) -> Features:
    import keras

    (weights,) = keras_home.glob("models/mobilenet_v2_*_1.0_224_no_top.h5")
    network = keras.applications.MobileNetV2(include_top=False, weights=str(weights), pooling="avg")

    def of(data: list[bytes]) -> np.ndarray:
        images = np.stack([read_image(one, ImageSpec(224)) for one in data]).astype(np.float32)
        return network.predict(keras.applications.mobilenet_v2.preprocess_input(images), batch_size=32, verbose=0)

    files = sorted((clothing / "train").rglob("*.jpg"))[::3]
    labels = np.unique([file.parent.name for file in files], return_inverse=True)[1]
    return Features(files, labels, of([file.read_bytes() for file in files]), of)


def saved_again(file: Path, quality: int) -> bytes:
    """Return a photo encoded as a JPEG again, with another quality."""
    data = io.BytesIO()
    Image.open(file).convert("RGB").save(data, "JPEG", quality=quality)
    return data.getvalue()
