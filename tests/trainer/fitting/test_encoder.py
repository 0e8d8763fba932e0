from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogue.cli.errors import UserError
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec
from catalogue.model_dir import bfloat16
from catalogue.reasons import Reason
from trainer.data.examples import Example, find_examples
from trainer.data.photos import Photo, read_photos
from trainer.fitting import augmentation, distribution, warping
from trainer.fitting import encoder as module
from trainer.fitting.augmentation import DEFAULT
from trainer.fitting.encoded import Encoded
from trainer.fitting.encoder import Encoder
from trainer.networks import backbones, cutting
from trainer.networks.network import Network

SPEC = ImageSpec(32)
needs_bfloat16 = pytest.mark.skipif(not bfloat16.is_native(), reason="this processor has no instructions for bfloat16")


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    """Networks with the same weights, cut after the backbone, inside it (at 8 × 8 maps), and before it."""
    import keras

    made = {}
    for where in ("none", "inside", "all"):
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        backbone = backbones.build("residual", "none", SPEC.size)
        layer = next(name for name, tensor in cutting.cut_tensors(backbone).items() if tensor.shape[1] == 8)
        made[where] = Network.on(backbone, 3, fine_tune=layer if where == "inside" else where)
    return made


@pytest.fixture
def examples(drawn: Path, tmp_path: Path) -> list[Example]:
    """36 pictures and a broken file."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    found = find_examples(str(drawn))
    return [*found[:10], Example(str(tmp_path / "broken.jpg"), "hat"), *found[10:]]


def encoder(network: Network, folder: Path, *, in_bfloat16: bool = False) -> Encoder:
    folder.mkdir(exist_ok=True)
    devices = distribution.find()
    return Encoder(network, devices, SPEC, DEFAULT_LIMITS, batch_size=8, folder=folder, in_bfloat16=in_bfloat16)


def images(examples: list[Example]) -> np.ndarray:
    return np.stack([photo.image for photo in read_photos(examples, SPEC) if isinstance(photo, Photo)])


@pytest.mark.parametrize("fine_tune", ["none", "inside", "all"])
def test_activations_at_the_cut_are_kept_row_by_row(
    fine_tune: str, networks: dict[str, Network], examples: list[Example], tmp_path: Path
) -> None:
    network = networks[fine_tune]
    encoded = encoder(network, tmp_path / "kept").encode(examples, with_features=True)
    assert encoded.examples == tuple(examples[:10] + examples[11:])  # a broken photo does not shift other rows
    assert [photo.error.reason for photo in encoded.unreadable] == [Reason.UNKNOWN_FORMAT]
    expected = images(examples)
    at_cut = network.lower(expected, training=False).numpy() if network.lower else expected
    if fine_tune == "all":
        np.testing.assert_array_equal(encoded.values, expected)
    np.testing.assert_allclose(encoded.values, at_cut, rtol=2e-3, atol=1e-3)
    assert at_cut.std() > 0.03  # otherwise the test proves nothing
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
        varied = warping.apply(chosen, *augmentation.variation(DEFAULT, drawn, SPEC.size))
        expected = network.lower(varied, training=False)  # type: ignore[misc]
        np.testing.assert_allclose(copies[copy], expected, rtol=2e-3, atol=1e-3)
    assert np.abs(copies[0] - copies[1]).max() > 0.1


def off_by(found: Any, expected: np.ndarray) -> np.ndarray:
    """Return the relative error of each row."""
    axes = tuple(range(1, expected.ndim))
    wide = expected.astype(np.float64)
    return np.sqrt(np.square(found - wide).sum(axis=axes) / np.square(wide).sum(axis=axes))


@needs_bfloat16
@pytest.mark.parametrize("fine_tune", ["none", "inside", "all"])
def test_all_rows_are_in_bfloat16_except_those_encoded_exactly(
    fine_tune: str, networks: dict[str, Network], examples: list[Example], tmp_path: Path
) -> None:
    network = networks[fine_tune]
    exact = encoder(network, tmp_path / "exact").encode(examples, with_features=True)
    work = encoder(network, tmp_path / "kept", in_bfloat16=True)
    encoded = work.encode(examples, with_features=True)
    pairs = [(encoded.features, exact.features)] + ([(encoded.values, exact.values)] if network.lower else [])
    for found, expected in pairs:
        off = off_by(found, expected)
        assert off.min() > 1e-4
        assert off.max() < 0.05
    rows = np.arange(1, 36, 3)
    work.encode_exactly(encoded, rows)
    again = encoder(network, tmp_path / "kept", in_bfloat16=True).encode(examples, with_features=True)
    for found in (encoded, again):  # stored in the files, too
        for name in ("values", "features"):
            off = off_by(getattr(found, name), getattr(exact, name))
            assert off[rows].max() < 1e-4
            if name == "features" or network.lower:
                assert np.delete(off, rows).min() > 1e-4
            else:
                np.testing.assert_array_equal(encoded.values, exact.values)


@needs_bfloat16
def test_copies_are_in_bfloat16(networks: dict[str, Network], examples: list[Example], tmp_path: Path) -> None:
    exact = encoder(networks["inside"], tmp_path / "exact")
    encoded = exact.encode(examples, with_features=False)
    rows = np.arange(0, 36, 5)
    expected = exact.copies(encoded, rows, DEFAULT, 2, seed=1)
    found = encoder(networks["inside"], tmp_path / "kept", in_bfloat16=True).copies(encoded, rows, DEFAULT, 2, seed=1)
    off = off_by(found.reshape(-1, *found.shape[2:]), expected.reshape(-1, *found.shape[2:]))
    assert off.min() > 1e-4
    assert off.max() < 0.05


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
    read, counts = read_photos, []

    def counted(examples: Any, spec: Any, limits: Any) -> Any:
        examples = list(examples)
        counts.append(len(examples))
        return read(examples, spec, limits)

    broken = encoder(networks["inside"], tmp_path / "broken")
    encoded: Encoded | None = None
    for call in ("encode", "copies"):
        monkeypatch.setattr(module, "read_photos", lambda *arguments: dying(read(*arguments), 17))
        with pytest.raises(Killed):
            broken.encode(examples, with_features=True) if call == "encode" else broken.copies(
                expected, rows, DEFAULT, 2, seed=0
            )
        monkeypatch.setattr(module, "read_photos", counted)
        if call == "encode":
            with (tmp_path / "broken/photos.jsonl").open("a") as log:
                log.write('{"hash": "cut off in the mid')
            encoded = broken.encode(examples, with_features=True)
        else:
            copies = broken.copies(expected, rows, DEFAULT, 2, seed=0)
    assert counts == [37 - 16, 18 - 16]  # two batches were complete
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
    found = find_examples(str(data))
    work = encoder(networks["inside"], tmp_path / "kept")
    encoded = work.encode(found, with_features=False)
    shutil.copy(found[0].uri, found[5].uri)
    with pytest.raises(UserError, match="changed during training"):
        work.copies(encoded, np.arange(36), DEFAULT, 1, seed=0)


def test_half_floats_do_not_overflow() -> None:
    import tensorflow as tf

    values = module._narrowed(tf.constant([[[[1e6, -1e6, 0.5]]]])).numpy()
    np.testing.assert_array_equal(values, np.array([[[[65504, -65504, 0.5]]]], np.float16))


def test_a_disk_without_room_is_reported(
    networks: dict[str, Network], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(
        UserError, match=r"need 0\.3 GB of free space, but the disk of .* has only 0\.0 GB left: delete files"
    ):
        encoder(networks["none"], tmp_path / "kept").encode(examples, with_features=False)
    assert not list((tmp_path / "kept").iterdir())
