"""The settings of a training."""

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
    """Everything that ``train`` is told.

    Attributes:
        data: labelled photos, see `trainer.data.examples.find_examples`.
        validation_data: the like, to choose the best epoch by; None for a part of `data`.
        test_data: the like, to measure the finished model on; None for none.
        validation_fraction, test_fraction: how much of `data` is held out; not used where there is other data.
        refit: whether to fit again with the photos that validated, too, once the best epoch is known.
        drop: a list of photos to leave out; None for none.
        class_names: what the numbers of an IDX file stand for, from 0; empty to have the numbers as labels.
        model_dir: where the model directory is written.
        backbone, weights, color_mode, layers: see `trainer.networks.backbones.build`.
        weights_hash: SHA-256 of the file of weights, hexadecimal; None if they are not in one.
        keep_top: whether the network keeps its own head and classes, see `trainer.networks.pretrained`; then nothing
            is fitted.
        fine_tune, hidden_units, dropout, freeze_batch_norm: see `trainer.networks.network.Network.on`.
        image: the images the network takes.
        limits: which photos are too large.
        augmentation: how photos are varied.
        copies: how many varied copies of each photo go through a frozen network.
        head_stage: how the head is trained alone, before a pretrained network is fine-tuned; None otherwise.
        final_stage: how all layers that are not frozen are trained.
        batch_size, seed: of fitting.
        precision: see `trainer.fitting.precision.dtype_policy`.
        checkpoint_dir: where what has been done is kept until all is done.
        checkpoint_seconds: how often.
        resume: whether to go on from there.
        log_dir: where TensorBoard's files go, if anywhere.
        improvements: where the network of each epoch that is the best so far goes, if anywhere.
        fail_under: metrics and what they must reach for the model to be written.
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
        """The settings that change the result: not the data, nor where things are kept. Anything JSON can write.

        The keys are those that ``model.json`` has had since its first format.
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
