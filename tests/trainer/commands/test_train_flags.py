from __future__ import annotations

from pathlib import Path

import pytest

from catalogue.cli import console
from catalogue.cli.console import UserError
from trainer.commands import train_flags as options
from trainer.fitting.augmentation import DEFAULT, Augmentation


def config(*flags: str, data: str = "photos") -> options.TrainConfig:
    parser = console.Parser()
    options.add_arguments(parser)
    return options.config_from(parser.parse_args(["--data", data, "--model-dir", "models/a", *flags]))


def test_a_frozen_network_needs_a_head_only() -> None:
    plain = config()
    assert (plain.fine_tune, plain.head, plain.main) == ("none", None, options.HEAD)
    assert plain.image.size == 224
    assert plain.checkpoint_dir == "models/checkpoints-a"


def test_fine_tuning_has_two_stages() -> None:
    tuned = config("--fine-tune", "top", "--epochs", "5", "--head-epochs", "3", "--ema", "0")
    assert tuned.head is not None
    assert tuned.head.epochs == 3
    assert (tuned.main.epochs, tuned.main.ema, tuned.main.decay) == (5, 0, "cosine")
    assert tuned.freeze_batch_norm
    assert not config("--fine-tune", "top", "--batch-norm", "fitted").freeze_batch_norm


def test_random_weights_are_all_fitted() -> None:
    scratch = config("--weights", "none")
    assert (scratch.fine_tune, scratch.head, scratch.main) == ("all", None, options.FROM_SCRATCH)
    assert not scratch.freeze_batch_norm
    with pytest.raises(UserError, match="would leave random weights as they are"):
        config("--weights", "none", "--fine-tune", "top")


def test_augmentation_is_a_set_that_flags_refine() -> None:
    assert config().augmentation == Augmentation()
    assert config("--augment").augmentation == DEFAULT
    assert config("--rotation", "20", "--flip").augmentation == Augmentation(flip=True, rotation=20)
    refined = config("--augment", "--no-flip", "--zoom", "0").augmentation
    assert (refined.flip, refined.zoom, refined.rotation) == (False, 0, DEFAULT.rotation)


def test_what_changes_the_result_says_all_of_it_and_nothing_else() -> None:
    def said(*flags: str) -> dict:
        return config(*flags).what_changes_the_result

    for flags in (
        ("--backbone", "ResNet50"), ("--hidden-units", "8"), ("--mixup", "0.2"), ("--class-weights", "balanced"),
        ("--precision", "mixed_bfloat16"), ("--copies", "2"), ("--color", "0.1"), ("--resize", "pad"),
        ("--seed", "1"), ("--max-bytes", "9999"),
    ):  # fmt: skip
        assert said(*flags) != said(), flags
    for flags in (("--resume",), ("--overwrite",), ("--log-dir", "x"), ("--checkpoint-seconds", "3")):
        assert said(*flags) == said(), flags


def test_pictures_of_an_idx_file_keep_their_size_in_networks_of_ours(shared: Path) -> None:
    data = f"{shared}/datasets/mnist/train-images-idx3-ubyte.gz"
    assert config("--backbone", "small", data=data).image.size == 28
    assert config("--backbone", "small", "--image-size", "32", data=data).image.size == 32
    assert config(data=data).image.size == 224


def test_vertex_ai_says_where_things_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_CHECKPOINT_DIR", "gs://bucket/checkpoints/")
    monkeypatch.setenv("AIP_TENSORBOARD_LOG_DIR", "gs://bucket/logs/")
    assert (config().checkpoint_dir, config().log_dir) == ("gs://bucket/checkpoints/", "gs://bucket/logs/")
