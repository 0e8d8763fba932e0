from __future__ import annotations

import re
from pathlib import Path

import pytest

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from trainer.commands import fitting_flags, train_flags
from trainer.config import TrainConfig
from trainer.fitting import checkpoints
from trainer.fitting.augmentation import DEFAULT, Augmentation
from trainer.networks.names import Layers


def config(*words: str, data: str = "photos") -> TrainConfig:
    parser = flags.Parser()
    train_flags.add_arguments(parser)
    return train_flags.config_from(parser.parse_args(["--data", data, "--model-dir", "models/a", *words]))


def test_a_frozen_network_needs_a_head_only() -> None:
    plain = config()
    assert (plain.fine_tune, plain.head_stage, plain.final_stage) == ("none", None, fitting_flags.HEAD_STAGE)
    assert plain.image.size == 224
    assert plain.checkpoint_dir == "models/checkpoints-a"


def test_fine_tuning_has_two_stages() -> None:
    tuned = config("--fine-tune", "top", "--epochs", "5", "--head-epochs", "3", "--ema", "0")
    assert tuned.head_stage is not None
    assert tuned.head_stage.epochs == 3
    assert (tuned.final_stage.epochs, tuned.final_stage.ema, tuned.final_stage.decay) == (5, 0, "cosine")
    assert tuned.freeze_batch_norm
    assert not config("--fine-tune", "top", "--batch-norm", "fitted").freeze_batch_norm


def test_differences_between_runs_are_named_by_flags() -> None:
    before, now = (
        checkpoints.run_of(config("--fine-tune", "top", *more).result_settings, "digest")
        for more in ((), ("--epochs", "5", "--class-weights", "balanced", "--views", "crop,pad"))
    )
    assert checkpoints.differences(before, now) == [
        "--resize or --views crop, now crop,pad", "--epochs 12, now 5", "--class-weights none, now balanced",
    ]  # fmt: skip
    parser = flags.Parser()
    train_flags.add_arguments(parser)
    other = checkpoints.differences({}, before)
    named = {flag for name in other for flag in re.findall(r"--[\w-]+", name)}
    assert named <= set(parser.flags())
    words = {name.partition(" None")[0] for name in other if not name.startswith("--")}
    assert {name for name in words if not name.endswith(" of the head alone")} == {
        "color space", "minimum side of a photo", "pretrained head", "frozen batch normalization",
        "different photos, labels or validation data",
    }  # fmt: skip


def test_random_weights_are_all_fitted() -> None:
    scratch = config("--weights", "none")
    assert (scratch.fine_tune, scratch.head_stage) == ("all", None)
    assert scratch.final_stage == fitting_flags.FROM_SCRATCH_STAGE
    assert not scratch.freeze_batch_norm
    with pytest.raises(UserError, match="would freeze random weights"):
        config("--weights", "none", "--fine-tune", "top")


def test_optimizers_have_defaults_of_their_own() -> None:
    stage = config("--optimizer", "sgd").final_stage
    assert (stage.learning_rate, stage.momentum, stage.weight_decay) == (0.01, 0.9, 0)
    assert config("--optimizer", "sgd", "--learning-rate", "0.1", "--momentum", "0").final_stage.learning_rate == 0.1
    assert config("--optimizer", "adamw").final_stage.weight_decay == 0.004
    assert config("--optimizer", "adamw", "--fine-tune", "top").final_stage.weight_decay == 0.02
    with pytest.raises(UserError, match="--momentum needs --optimizer sgd or rmsprop"):
        config("--momentum", "0.9")


def test_layers_are_those_of_one_network() -> None:
    words = ("--convolutions", "35,35,45", "--kernel", "5", "--strides", "2", "--pooling", "average")
    assert config("--backbone", "convolutional", *words).layers == Layers((35, 35, 45), 5, 2, "average")
    with pytest.raises(UserError, match="--pooling needs --backbone convolutional"):
        config("--pooling", "none")


def test_augmentation_is_a_set_that_flags_refine() -> None:
    assert config().augmentation == Augmentation()
    assert config("--augment").augmentation == DEFAULT
    assert config("--rotation", "20", "--flip").augmentation == Augmentation(flip=True, rotation=20)
    refined = config("--augment", "--no-flip", "--zoom", "0").augmentation
    assert (refined.flip, refined.zoom, refined.rotation) == (False, 0, DEFAULT.rotation)


def test_result_settings_hold_all_that_affects_the_result_and_nothing_else() -> None:
    def said(*words: str) -> dict:
        return config(*words).result_settings

    for words in (
        ("--backbone", "ResNet50"), ("--hidden-units", "8"), ("--mixup", "0.2"), ("--class-weights", "balanced"),
        ("--precision", "mixed_bfloat16"), ("--copies", "2"), ("--color", "0.1"), ("--resize", "pad"),
        ("--seed", "1"), ("--max-bytes", "9999"),
    ):  # fmt: skip
        assert said(*words) != said(), words
    for words in (("--resume",), ("--overwrite",), ("--log-dir", "x"), ("--checkpoint-seconds", "3")):
        assert said(*words) == said(), words


def test_pictures_of_an_idx_file_keep_their_size_in_networks_of_ours(shared: Path) -> None:
    data = f"{shared}/datasets/mnist/train-images-idx3-ubyte.gz"
    assert config("--backbone", "small", data=data).image.size == 28
    assert config("--backbone", "small", "--image-size", "32", data=data).image.size == 32
    assert config(data=data).image.size == 224


def test_vertex_ai_says_where_things_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_CHECKPOINT_DIR", "gs://bucket/checkpoints/")
    monkeypatch.setenv("AIP_TENSORBOARD_LOG_DIR", "gs://bucket/logs/")
    assert (config().checkpoint_dir, config().log_dir) == ("gs://bucket/checkpoints/", "gs://bucket/logs/")
