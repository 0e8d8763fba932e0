"""Command-line flags of ``train``, and the `TrainConfig` they are parsed into."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.model_dir import file_digest
from trainer.commands import data_flags, fitting_flags, image_flags, network_flags
from trainer.config import TrainConfig
from trainer.data.examples import own_image_size
from trainer.evaluation import gates
from trainer.fitting.stage import Stage
from trainer.networks import names

HEAD_CHOICES = ("new", "imagenet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``train``."""
    data_flags.add_arguments(parser.add_argument_group("photos").add_argument)
    output = parser.add_argument_group("output")
    _add_places(output.add_argument)
    gates.add_gate_argument(output)
    _add_checkpoint_arguments(parser.add_argument_group("checkpoints").add_argument)
    add_method_arguments(parser, with_pretrained_head=True)


def add_method_arguments(parser: argparse.ArgumentParser, *, with_pretrained_head: bool = False) -> None:
    """Add the flags of the network and its fitting, which ``sweep`` can vary."""
    network = parser.add_argument_group("network")
    network_flags.add_arguments(network.add_argument)
    if with_pretrained_head:
        network.add_argument(
            "--head",
            choices=HEAD_CHOICES,
            default=HEAD_CHOICES[0],
            help="train a new head, or keep the pretrained one for ImageNet classes",
        )
    fitting_flags.add_arguments(parser.add_argument_group("fitting").add_argument)
    image_flags.add_augmentation_arguments(parser.add_argument_group("augmentation").add_argument)
    advanced = parser.add_argument_group("advanced")
    fitting_flags.add_advanced_arguments(advanced.add_argument)
    network_flags.add_advanced_arguments(advanced.add_argument)
    flags.add_limit_arguments(parser)


def _add_places(add: Any) -> None:
    model_dir = os.environ.get("AIP_MODEL_DIR")
    add(
        "--model-dir",
        type=flags.path,
        default=model_dir,
        required=not model_dir,
        metavar="DIR",
        help="model directory to write (default: AIP_MODEL_DIR, which Vertex AI sets)",
    )
    add("--overwrite", action="store_true", help="replace an existing model directory")
    add(
        "--log-dir",
        type=flags.path,
        default=os.environ.get("AIP_TENSORBOARD_LOG_DIR"),
        metavar="DIR",
        help="folder for TensorBoard event files (default: AIP_TENSORBOARD_LOG_DIR)",
    )
    add(
        "--improvements",
        type=flags.path,
        metavar="DIR",
        help="folder for a .keras file of each epoch that is the best so far",
    )


def _add_checkpoint_arguments(add: Any) -> None:
    add("--resume", action="store_true", help="resume the same command after an interruption")
    add(
        "--checkpoint-dir",
        type=flags.path,
        default=os.environ.get("AIP_CHECKPOINT_DIR"),
        metavar="DIR",
        help="checkpoint folder (default: AIP_CHECKPOINT_DIR, or beside the model directory)",
    )
    add(
        "--checkpoint-seconds",
        type=flags.non_negative_float,
        default=30.0,
        metavar="S",
        help="seconds between two checkpoints",
    )


def config_from(arguments: argparse.Namespace) -> TrainConfig:
    """Convert parsed flags to a `TrainConfig`.

    Raises:
        UserError: the flags contradict each other.
    """
    a = arguments
    weights = a.weights or names.default_weights(a.backbone)
    from_scratch = weights == names.NONE
    keep_top = a.head != HEAD_CHOICES[0]
    data_flags.check(a)
    if keep_top:
        _check_nothing_is_fitted(a, weights)
    fine_tune = a.fine_tune or (names.EVERYTHING if from_scratch else names.NOTHING)
    if from_scratch and fine_tune != names.EVERYTHING:
        raise UserError(f"--fine-tune {fine_tune} would freeze random weights: give --weights, or omit --fine-tune")
    frozen = fine_tune == names.NOTHING
    if from_scratch:
        final_stage = fitting_flags.FROM_SCRATCH_STAGE
    else:
        final_stage = fitting_flags.HEAD_STAGE if frozen else fitting_flags.FINE_TUNING_STAGE
    given = {name: getattr(a, name) for name in (field.name for field in dataclasses.fields(Stage))}
    given = {name: value for name, value in given.items() if value is not None}
    final_stage = dataclasses.replace(final_stage, **(fitting_flags.optimizer_defaults(a, final_stage) | given))
    head_stage = None if from_scratch or frozen else dataclasses.replace(fitting_flags.HEAD_STAGE, epochs=a.head_epochs)
    freeze_batch_norm = a.batch_norm == "frozen" if a.batch_norm else not from_scratch
    return TrainConfig(
        data=a.data,
        validation_data=a.validation_data,
        test_data=a.test_data,
        validation_fraction=a.validation_fraction,
        test_fraction=a.test_fraction or 0.0,
        refit=a.refit,
        drop=a.drop,
        class_names=a.class_names or (),
        model_dir=a.model_dir,
        backbone=a.backbone,
        weights=weights,
        weights_hash=file_digest(Path(weights)) if os.path.isfile(weights) else None,
        color_mode=a.color_mode,
        layers=network_flags.layers(a),
        keep_top=keep_top,
        fine_tune=fine_tune,
        hidden_units=a.hidden_units or (),
        dropout=a.dropout,
        freeze_batch_norm=freeze_batch_norm,
        image=image_flags.image_spec(a.image_size or _image_size(a.backbone, a.data, keep_top), a.resize, a.views),
        limits=flags.limits(a),
        augmentation=image_flags.augmentation(a),
        copies=a.copies,
        head_stage=head_stage,
        final_stage=final_stage,
        batch_size=a.batch_size,
        seed=a.seed,
        precision=a.precision,
        checkpoint_dir=a.checkpoint_dir or _beside(a.model_dir),
        checkpoint_seconds=a.checkpoint_seconds,
        resume=a.resume,
        log_dir=a.log_dir,
        improvements=a.improvements,
        fail_under=tuple(a.fail_under or ()),
        overwrite=a.overwrite,
    )


def _beside(model_dir: str) -> str:
    """Return a folder next to the model directory.

    Its name does not begin with the name of the model directory, since object stores list files by prefix.
    """
    folder, slash, name = model_dir.rstrip("/").rpartition("/")
    return f"{folder}{slash}checkpoints-{name}"


def _check_nothing_is_fitted(arguments: argparse.Namespace, weights: str) -> None:
    """Raise UserError if ``--head imagenet``, which fits nothing, is given without weights or with flags of fitting."""
    if weights == names.NONE:
        raise UserError(
            f"--head {arguments.head} needs a network of keras.applications and its weights: choose another "
            "--backbone, or omit --weights none"
        )
    parser = flags.Parser()
    fitting_flags.add_arguments(parser.add_argument)
    fitting_flags.add_advanced_arguments(parser.add_argument)
    image_flags.add_augmentation_arguments(parser.add_argument)
    fitted = {action.dest: (action.option_strings[0], action.default) for action in parser._actions[1:]}
    fitted |= {"validation_data": ("--validation-data", None), "test_data": ("--test-data", None)}
    fitted |= {"hidden_units": ("--hidden-units", None)}
    fitted |= {"dropout": ("--dropout", network_flags.DROPOUT), "test_fraction": ("--test-fraction", None)}
    fitted |= {"validation_fraction": ("--validation-fraction", data_flags.VALIDATION_FRACTION)}
    for name, (flag, default) in fitted.items():
        if name not in ("batch_size", "precision", "seed") and getattr(arguments, name) != default:
            raise UserError(f"--head {arguments.head} fits nothing: omit {flag}")
    if arguments.fine_tune not in (None, names.NOTHING):
        raise UserError(f"--head {arguments.head} fits nothing: omit --fine-tune")


def _image_size(backbone: str, data: str, keep_top: bool) -> int:
    if keep_top:
        return names.image_size_of_top(backbone)
    own = own_image_size(data) if names.is_own(backbone) else None
    return own or names.default_image_size(backbone)
