"""`TrainConfig`, the settings of a training run."""

from __future__ import annotations

import dataclasses
from typing import Any

from catalogue.images.spec import ImageSpec, Limits
from trainer.fitting.augmentation import Augmentation
from trainer.fitting.stage import Stage
from trainer.networks import names

_FORMAT_1_KEYS = {"keep_top": "as_it_is", "head_stage": "head", "final_stage": "main"}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Attributes:
        data: path of the labeled photos, see `trainer.data.examples.find_examples`.
        validation_data: path of the validation photos, in any form that `data` accepts; None to hold out
            `validation_fraction` of `data`.
        test_data: path of the test photos, in any form that `data` accepts; None to hold out `test_fraction` of `data`.
        validation_fraction: share of `data` to hold out for validation; ignored if `validation_data` is set.
        test_fraction: share of `data` to hold out for testing; 0 for none, and if `test_data` is set.
        refit: whether to fit again on training and validation photos together, up to the best epoch.
        drop: path of a list of photos to omit; None for none.
        class_names: class names of an IDX file's numeric labels, from 0; empty to use the numbers as labels.
        model_dir: path of the model directory to write.
        backbone, weights, color_mode, layers: arguments of `trainer.networks.backbones.build`.
        weights_hash: SHA-256 of the weights file, hexadecimal; None if `weights` is not a file.
        keep_top: whether the network keeps its own head and classes, see `trainer.networks.pretrained`; if so,
            nothing is fitted.
        fine_tune, hidden_units, dropout, freeze_batch_norm: arguments of `trainer.networks.network.Network.on`.
        image: format of the network's input images.
        limits: size limits of photos.
        augmentation: settings of the augmentation.
        copies: number of augmented copies of each photo that the frozen layers encode.
        head_stage: settings for fitting the head alone before fine-tuning; None from scratch, or without fine-tuning.
        final_stage: settings for fitting all layers that are not frozen.
        batch_size, seed: batch size and random seed of fitting.
        precision: number format, see `trainer.fitting.precision.dtype_policy`.
        checkpoint_dir: folder of the checkpoints, which are removed once the model is written.
        checkpoint_seconds: time between two checkpoints, in seconds.
        resume: whether to resume from `checkpoint_dir`.
        log_dir: folder of the TensorBoard event files; None for none.
        improvements: folder for the network of each epoch that is the best so far; None to save none.
        fail_under: metrics and their minimum values; the model is written only if all are reached.
        overwrite: whether a model directory at `model_dir` may be replaced.
    """

    data: str
    validation_data: str | None
    test_data: str | None
    validation_fraction: float
    test_fraction: float
    refit: bool
    drop: str | None
    class_names: tuple[str, ...]
    model_dir: str
    backbone: str
    weights: str
    weights_hash: str | None
    color_mode: str
    layers: names.Layers
    keep_top: bool
    fine_tune: str
    hidden_units: tuple[int, ...]
    dropout: float
    freeze_batch_norm: bool
    image: ImageSpec
    limits: Limits
    augmentation: Augmentation
    copies: int
    head_stage: Stage | None
    final_stage: Stage
    batch_size: int
    seed: int
    precision: str
    checkpoint_dir: str
    checkpoint_seconds: float
    resume: bool
    log_dir: str | None
    improvements: str | None
    fail_under: tuple[tuple[str, float], ...]
    overwrite: bool

    @property
    def result_settings(self) -> dict[str, Any]:
        """JSON-serializable settings that affect the result, without the paths of data and outputs.

        Keys that differ from the field names are those of the first format of ``model.json``.
        """
        elsewhere = {
            "data",
            "validation_data",
            "test_data",
            "drop",
            "class_names",
            "model_dir",
            "checkpoint_dir",
            "log_dir",
        }
        without_effect = {"checkpoint_seconds", "resume", "overwrite", "fail_under", "improvements"}
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in elsewhere | without_effect}
        return {_FORMAT_1_KEYS.get(name, name): value for name, value in settings.items()}
