from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import augmentation, backbones, dataset, distribution, features
from trainer.augmentation import DEFAULT
from trainer.console import UserError
from trainer.dataset import Example, Photo
from trainer.features import Encoded, Encoder
from trainer.network import Network
from trainer.preprocessing import DEFAULT_LIMITS, ImageSpec, Reason

SPEC = ImageSpec(32)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    """One for each place of the cut, of the same weights. Above 8 × 8 maps stands for any layer in between."""
    import keras

    made = {}
    for where in ("none", "inside", "all"):
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        backbone = backbones.build("residual", "none", SPEC.size)
        layer = next(name for name, tensor in backbones.cut_tensors(backbone).items() if tensor.shape[1] == 8)
        made[where] = Network.on(backbone, 3, fine_tune=layer if where == "inside" else where)
    return made


@pytest.fixture
def examples(drawn: Path, tmp_path: Path) -> list[Example]:
    """36 pictures with a broken one among them."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    found = dataset.find_examples(str(drawn))
    return [*found[:10], Example(str(tmp_path / "broken.jpg"), "hat"), *found[10:]]


def encoder(network: Network, folder: Path) -> Encoder:
    folder.mkdir(exist_ok=True)
    return Encoder(network, distribution.find(), SPEC, DEFAULT_LIMITS, batch_size=8, folder=folder)


def images(examples: list[Example]) -> np.ndarray:
    return np.stack([photo.image for photo in dataset.read_photos(examples, SPEC) if isinstance(photo, Photo)])


@pytest.mark.parametrize("fine_tune", ["none", "inside", "all"])
def test_keeps_what_is_at_the_cut_row_by_row(
    fine_tune: str, networks: dict[str, Network], examples: list[Example], tmp_path: Path
) -> None:
    network = networks[fine_tune]
    encoded = encoder(network, tmp_path / "kept").encode(examples, with_features=True)
    assert encoded.examples == tuple(examples[:10] + examples[11:])  # a broken photo moves nobody's row
    assert [photo.error.reason for photo in encoded.unreadable] == [Reason.UNKNOWN_FORMAT]
    expected = images(examples)
    at_cut = network.lower(expected, training=False).numpy() if network.lower else expected
    if fine_tune == "all":
        np.testing.assert_array_equal(encoded.values, expected)
    np.testing.assert_allclose(encoded.values, at_cut, rtol=2e-3, atol=1e-3)
    assert at_cut.std() > 0.03  # otherwise this shows nothing
    assert encoded.values.dtype == {"none": np.float32, "inside": np.float16, "all": np.uint8}[fine_tune]
    np.testing.assert_allclose(encoded.features, network.backbone(expected, training=False), rtol=1e-3, atol=1e-4)


def test_copies_are_varied_as_said(networks: dict[str, Network], examples: list[Example], tmp_path: Path) -> None:
    network = networks["inside"]
    work = encoder(network, tmp_path / "kept")
    encoded = work.encode(examples, with_features=False)
    rows = np.array([3, 11, 30])
    copies = work.copies(encoded, rows, DEFAULT, 2, seed=5)
    assert copies.shape == (2, 3, *encoded.values.shape[1:])
    chosen = images([encoded.examples[row] for row in rows])
    for copy in range(2):
        drawn = augmentation.draws(5, copy + 1, len(encoded.examples))[rows]
        varied = augmentation.apply(chosen, *augmentation.variation(DEFAULT, drawn, SPEC.size))
        expected = network.lower(varied, training=False)  # type: ignore[misc]
        np.testing.assert_allclose(copies[copy], expected, rtol=2e-3, atol=1e-3)
    assert np.abs(copies[0] - copies[1]).max() > 0.1


class Killed(Exception):
    pass


def dying(photos: Any, after: int) -> Iterator[Any]:
    for number, photo in enumerate(photos):
        if number == after:
            raise Killed
        yield photo


def test_goes_on_where_it_was_interrupted(
    networks: dict[str, Network], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoder(networks["inside"], tmp_path / "whole")
    expected = whole.encode(examples, with_features=True)
    rows = np.arange(0, 36, 2)
    expected_copies = whole.copies(expected, rows, DEFAULT, 2, seed=0)
    read, counts = dataset.read_photos, []

    def counted(examples: Any, spec: Any, limits: Any) -> Any:
        examples = list(examples)
        counts.append(len(examples))
        return read(examples, spec, limits)

    broken = encoder(networks["inside"], tmp_path / "broken")
    encoded: Encoded | None = None
    for call in ("encode", "copies"):
        monkeypatch.setattr(dataset, "read_photos", lambda *arguments: dying(read(*arguments), 17))
        with pytest.raises(Killed):
            broken.encode(examples, with_features=True) if call == "encode" else broken.copies(
                expected, rows, DEFAULT, 2, seed=0
            )
        monkeypatch.setattr(dataset, "read_photos", counted)
        if call == "encode":
            with (tmp_path / "broken/photos.jsonl").open("a") as log:
                log.write('{"hash": "cut off in the mid')
            encoded = broken.encode(examples, with_features=True)
        else:
            copies = broken.copies(expected, rows, DEFAULT, 2, seed=0)
    assert counts == [37 - 16, 18 - 16]  # two whole batches had been done
    assert encoded is not None
    assert encoded.examples == expected.examples
    assert encoded.content_hashes == expected.content_hashes
    assert [photo.error.reason for photo in encoded.unreadable] == [Reason.UNKNOWN_FORMAT]
    np.testing.assert_allclose(encoded.values, expected.values, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(encoded.features, expected.features, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(copies, expected_copies, rtol=2e-3, atol=1e-3)


def test_a_photo_that_was_changed_in_between_is_noticed(
    networks: dict[str, Network], drawn: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    found = dataset.find_examples(str(data))
    work = encoder(networks["inside"], tmp_path / "kept")
    encoded = work.encode(found, with_features=False)
    shutil.copy(found[0].uri, found[5].uri)
    with pytest.raises(UserError, match="was changed while it was being trained on"):
        work.copies(encoded, np.arange(36), DEFAULT, 1, seed=0)


def test_half_floats_do_not_overflow() -> None:
    import tensorflow as tf

    values = features._narrowed(tf.constant([[[[1e6, -1e6, 0.5]]]])).numpy()
    np.testing.assert_array_equal(values, np.array([[[[65504, -65504, 0.5]]]], np.float16))


def test_a_disk_without_room_is_said(
    networks: dict[str, Network], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match=r"takes 0\.0 GB, .* has room for 0\.0: make room"):
        encoder(networks["none"], tmp_path / "kept").encode(examples, with_features=False)
    assert not list((tmp_path / "kept").iterdir())
