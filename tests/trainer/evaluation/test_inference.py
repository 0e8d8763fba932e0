from __future__ import annotations

from pathlib import Path

import numpy as np

from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec
from catalogue.reasons import Reason
from trainer.data.examples import Example
from trainer.evaluation import inference


def test_every_photo_gets_its_own_row(drawn: Path, tmp_path: Path) -> None:
    """Mean colors stand in for the output of a model; there are more photos than a batch holds, and some are broken."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    good = [Example(str(file), file.parent.name) for file in sorted(drawn.rglob("*.jpg"))] * 2
    broken = Example(str(tmp_path / "broken.jpg"), "hat")
    examples = [*good[:31], broken, *good[31:], broken]
    sizes = []

    def means(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return images.mean(axis=(1, 2)).astype(np.float32)

    result = inference.classify(examples, len(examples), ImageSpec(16), DEFAULT_LIMITS, means)
    assert result.examples == tuple(good)
    assert [photo.error.reason for photo in result.unreadable] == [Reason.UNKNOWN_FORMAT] * 2
    alone = [inference.classify([e], 1, ImageSpec(16), DEFAULT_LIMITS, means).probabilities[0] for e in good]
    np.testing.assert_array_equal(result.probabilities, alone)
    assert max(sizes) <= inference.BATCH_SIZE


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    examples = [Example(str(tmp_path / "none.jpg"), "hat")]
    result = inference.classify(examples, 1, ImageSpec(16), DEFAULT_LIMITS, lambda images: images)
    assert (result.examples, len(result.probabilities), len(result.unreadable)) == ((), 0, 1)
