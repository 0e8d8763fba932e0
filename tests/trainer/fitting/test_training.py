"""The steps from photos to a fitted network, combined; each step has tests of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogue.cli import flags
from catalogue.model_dir import bfloat16
from trainer.commands import train_flags
from trainer.data.examples import find_examples
from trainer.fitting import distribution, training
from trainer.fitting.checkpoints import Checkpoints
from trainer.fitting.encoder import Encoder
from trainer.fitting.training import Job


def job(data: Path, scratch: Path, *more: str) -> Job:
    parser = flags.Parser()
    train_flags.add_arguments(parser)
    words = ["--data", str(data), "--model-dir", "nowhere", "--backbone", "residual", "--image-size", "32", *more]
    config = train_flags.config_from(parser.parse_args(words))
    scratch.mkdir()
    labels = ("dress", "hat", "shoes")
    return Job(config, labels, "", distribution.find(), Checkpoints(None), scratch, lambda *_: None)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A weights file that stands in for a pretrained network."""
    import keras

    from trainer.networks import backbones

    keras.utils.set_random_seed(9)
    backbones.build("residual", "none", 32).layers[-1].save_weights(tmp_path / "residual.weights.h5")
    return str(tmp_path / "residual.weights.h5")


def arrays(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def test_layers_below_the_cut_stay_and_layers_above_it_change(drawn: Path, tmp_path: Path, weights: str) -> None:
    """First the head is fitted, then everything above the cut. Nothing below the cut changes."""
    import keras

    keras.backend.clear_session()
    run = job(drawn, tmp_path / "scratch", "--weights", weights, "--fine-tune", "add_1", "--augment", "--epochs", "2",
              "--head-epochs", "2", "--copies", "2")  # fmt: skip
    prepared = training.prepare(run, find_examples(str(drawn)), [])
    assert prepared.copies is not None
    assert prepared.copies.shape[:2] == (2, len(prepared.split.training))
    result = training.fit(run, prepared)
    assert result.head_fit is not None
    assert len(result.head_fit.epochs) == len(result.final_fit.epochs) == 2
    network = result.network
    assert network.lower is not None
    assert network.upper is not None
    before = dict(zip((variable.path for variable in prepared.backbone.variables), prepared.initial, strict=True))
    for variable in network.lower.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    changed = [not np.array_equal(v.numpy(), before[v.path]) for v in network.upper.trainable_variables]
    assert all(changed)


@pytest.mark.skipif(not bfloat16.is_native(), reason="this processor has no instructions for bfloat16")
def test_validation_photos_are_not_encoded_in_bfloat16(drawn: Path, tmp_path: Path, weights: str) -> None:
    found = {}
    for precision in ("float32", "auto"):
        more = ("--weights", weights, "--precision", precision)
        found[precision] = training.prepare(job(drawn, tmp_path / precision, *more), find_examples(str(drawn)), [])
    split = found["auto"].split
    off = np.abs(found["auto"].encoded.values - found["float32"].encoded.values).max(axis=1)
    assert off[split.validation].max() < 1e-5
    assert off[split.training].min() > 1e-4
    assert [found[precision].encoder.has_rounded for precision in ("float32", "auto")] == [False, True]


@pytest.mark.skipif(not bfloat16.is_native(), reason="this processor has no instructions for bfloat16")
def test_validation_photos_are_not_in_bfloat16_if_a_machine_without_it_resumes(
    drawn: Path, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = find_examples(str(drawn))
    exact = training.prepare(
        job(drawn, tmp_path / "exact", "--weights", weights, "--precision", "float32"), examples, []
    )
    run = job(drawn, tmp_path / "scratch", "--weights", weights)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Encoder, "encode_exactly", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            training.prepare(run, examples, [])
    monkeypatch.setattr(bfloat16, "is_native", lambda: False)
    resumed = training.prepare(run, examples, [])
    assert resumed.encoder.has_rounded
    off = np.abs(resumed.encoded.values - exact.encoded.values).max(axis=1)
    assert off[resumed.split.validation].max() < 1e-5


def test_fitting_again_begins_anew(drawn: Path, tmp_path: Path) -> None:
    """`sweep` relies on this: a second fit gives the same result, and a fit with other options gives another result."""
    run = job(drawn, tmp_path / "scratch", "--epochs", "2")
    prepared = training.prepare(run, find_examples(str(drawn)), [])
    first = training.fit(run, prepared)
    logits = first.final_fit.logits
    again = training.fit(run, prepared)
    np.testing.assert_allclose(again.final_fit.logits, logits, rtol=1e-5)
    config = dataclasses.replace(run.config, hidden_units=(5,))
    other = training.fit(dataclasses.replace(run, config=config), prepared)
    assert not np.allclose(other.final_fit.logits, logits)


def test_what_is_exported_computes_in_full_precision(drawn: Path, tmp_path: Path) -> None:
    run = job(drawn, tmp_path / "scratch", "--epochs", "2", "--precision", "mixed_bfloat16")
    prepared = training.prepare(run, find_examples(str(drawn)), [])
    result = training.fit(run, prepared)
    assert result.network.backbone.layers[-1].layers[1].compute_dtype == "bfloat16"
    plain = training.portable(run, result.network)
    assert {layer.compute_dtype for layer in plain.backbone.layers[-1].layers[1:]} == {"float32"}
    for one, other in zip(arrays(result.network.backbone), arrays(plain.backbone), strict=True):
        np.testing.assert_array_equal(one, other)
    images = prepared.encoded.values[:8]
    theirs = result.network.head(result.network.backbone(images)).numpy()
    np.testing.assert_allclose(plain.head(plain.backbone(images)), theirs, atol=0.1)
