from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from catalogue.images.spec import ImageSpec
from trainer.evaluation.thumbnails import as_network_input


def test_views_are_the_pixels_that_the_network_takes(tmp_path: Path) -> None:
    """The picture is wide and red: its ends are cropped, or it is padded with white above and below."""
    path = tmp_path / "wide.png"
    Image.new("RGB", (64, 32), (255, 0, 0)).save(path)
    crop, pad = (
        np.asarray(Image.open(io.BytesIO(data))) for data in as_network_input(str(path), ImageSpec(32, "crop,pad"))
    )
    assert crop.shape == pad.shape == (32, 32, 3)
    assert np.abs(crop[0].astype(int) - (255, 0, 0)).max() < 10
    assert pad[0].min() > 245
    assert np.abs(pad[16].astype(int) - (255, 0, 0)).max() < 10


def test_a_photo_that_is_gone_has_no_views(tmp_path: Path) -> None:
    assert as_network_input(str(tmp_path / "gone.jpg"), ImageSpec(32)) == []
