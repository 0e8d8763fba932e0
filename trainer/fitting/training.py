"""From labelled photos to a trained network: runs the frozen layers over the photos once, then trains the others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from catalogue.cli.logs import say
from trainer.config import TrainConfig
from trainer.data.duplicates import Duplicates, near_duplicates
from trainer.data.examples import Example
from trainer.data.split import Split
from trainer.fitting import checks, improvements, precision
from trainer.fitting.checkpoints import FINAL_STAGE, HEAD_STAGE, REFIT_PREFIX, SPLIT, Checkpoints
from trainer.fitting.distribution import Devices
from trainer.fitting.encoded import Encoded
from trainer.fitting.encoder import Encoder
from trainer.fitting.inputs import Activations, Images, Source
from trainer.fitting.loop import Fitted, Fitting
from trainer.fitting.stage import Stage
from trainer.fitting.task import Task
from trainer.networks import backbones, earlier, names
from trainer.networks.network import Network

FULL_PRECISION = "float32"
_MOST_FEATURES = 2**28  # 1 GB, of which near-duplicates and wrong labels take a copy or two


@dataclasses.dataclass(frozen=True)
class Job:
    """A run as it goes.

    Attributes:
        config: what it is told.
        labels: the classes, in order.
        photos: identifies the photos, see `trainer.data.sides.Sides.digest`.
        devices: where it computes.
        checkpoints, scratch: where it keeps what it has; `scratch` is a local folder.
        watch: see `trainer.fitting.loop.Fitting`.
    """

    config: TrainConfig
    labels: tuple[str, ...]
    photos: str
    devices: Devices
    checkpoints: Checkpoints
    scratch: Path
    watch: Callable[[str, int, dict[str, float]], None]

    @property
    def dtype_policy(self) -> str:
        """Keras's dtype policy."""
        return precision.dtype_policy(self.config.precision, self.devices.gpus)

    @property
    def frozen_in_bfloat16(self) -> bool:
        """Whether what is frozen computes in bfloat16, where it is not for validation."""
        return precision.frozen_in_bfloat16(self.config.precision, self.devices)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What does not depend on how the network is fitted.

    Attributes:
        backbone: see `trainer.networks.backbones.build`.
        initial: its weights before it was fitted.
        encoder, encoded: the frozen part, and what it makes of the N photos.
        truth: int [N], the index of the right label.
        split: which of them are for what.
        copies: what the frozen part makes of varied copies, see `trainer.fitting.encoder.Encoder.copies`.
        varied: int, the rows that they are copies of.
        duplicates: near-duplicates among the photos; None if they were not looked for.
    """

    backbone: keras.Model
    initial: list[np.ndarray]
    encoder: Encoder
    encoded: Encoded
    truth: np.ndarray
    split: Split
    copies: np.ndarray | None
    varied: np.ndarray
    duplicates: Duplicates | None


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A fitted network, how its head was fitted alone, if it was, and how all that is not frozen was."""

    network: Network
    head_fit: Fitted | None
    final_fit: Fitted


def prepare(
    job: Job, examples: Sequence[Example], held_out: Sequence[Example], test: Sequence[Example] = ()
) -> Prepared:
    """Reads the photos and runs what is frozen over them.

    Args:
        job: what is to be done.
        examples: to train on; a part of them validates if `held_out` is empty.
        held_out: to validate on.
        test: to measure each network on that is fitted.

    Raises:
        UserError: they cannot be trained on, or the network cannot be built.
    """
    config, strategy = job.config, job.devices.strategy
    backbone = build_backbone(config, job.dtype_policy, config.weights, strategy)
    network = add_head(config, job.labels, job.dtype_policy, backbone, strategy)
    encoder = Encoder(
        network, job.devices, config.image, config.limits, config.batch_size, job.scratch, job.frozen_in_bfloat16
    )
    encoded = encoder.encode([*examples, *held_out, *test], with_features=config.head_stage is not None)
    job.devices.check_same("photos", [encoded.labels, encoded.content_hashes])
    checks.report_unreadable(encoded, len(examples) + len(held_out) + len(test))
    given, tests = ({example.uri for example in own} for own in (held_out, test))
    others = np.array([row for row, example in enumerate(encoded.examples) if example.uri not in tests], int)
    duplicates = _duplicates(job, encoded, others)
    split = checks.choose_split(encoded, given, tests, duplicates, config.validation_fraction, config.test_fraction)
    checks.report_classes(encoded, split, job.labels)
    if duplicates:
        checks.report_duplicates(encoded, split, duplicates)
    if encoder.has_rounded:
        encoder.encode_exactly(encoded, np.union1d(split.validation, split.test))
    copies, varied = None, np.union1d(split.training, split.validation) if config.refit else split.training
    if network.lower is not None and config.augmentation:
        copies = encoder.copies(encoded, varied, config.augmentation, config.copies, config.seed)
    initial = [variable.numpy() for variable in backbone.variables]
    truth = np.searchsorted(job.labels, encoded.labels)
    return Prepared(backbone, initial, encoder, encoded, truth, split, copies, varied, duplicates)


def _duplicates(job: Job, encoded: Encoded, rows: np.ndarray) -> Duplicates | None:
    """Near-duplicates among the photos in some rows, if a pretrained network has features for them.

    The split depends on them, so that all workers have what the chief finds, and a run that goes on what it found.

    Args:
        job, encoded: all photos.
        rows: int, those to train and validate on.
    """
    if encoded.features is None or job.config.weights == names.NONE or encoded.features.size > _MOST_FEATURES:
        return None
    found = job.checkpoints.load(SPLIT) if job.devices.is_chief else None
    pairs = found[0][0] if found else rows[near_duplicates(encoded.features[rows]).pairs]
    if job.devices.is_chief and not found:
        job.checkpoints.save(SPLIT, [pairs], {})
    return Duplicates(np.array(job.devices.json_from_chief(pairs.tolist()), int).reshape(-1, 2), len(encoded.examples))


def fit(job: Job, prepared: Prepared) -> TrainingResult:
    """Fits a head, and what else is not frozen, to prepared photos. What it fitted before it begins anew.

    With ``--refit`` it does so again with the photos that validated among those that are trained on, up to the epochs
    that were the best; the network is then the second one, and what was measured is of the first.

    Raises:
        CommandFailed: it diverged.
    """
    split = prepared.split
    first = _fit_stages(job, prepared, split.training)
    checks.check_fitted(first.final_fit.logits, prepared.truth[split.validation])
    if not job.config.refit:
        return first
    say("fitting once more, to the photos that validated, too")
    rows = np.union1d(split.training, split.validation)
    return dataclasses.replace(first, network=_fit_stages(job, prepared, rows, like=first).network)


def _fit_stages(
    job: Job, prepared: Prepared, training: np.ndarray, like: TrainingResult | None = None
) -> TrainingResult:
    """Fits the head alone, if that is asked for, then all that is not frozen.

    Args:
        job, prepared: see `fit`.
        training: rows to train on, in order.
        like: where to end each stage: with the best epoch of this earlier fit; None to choose the best epoch.
    """
    config, encoded = job.config, prepared.encoded
    for variable, value in zip(prepared.backbone.variables, prepared.initial, strict=True):
        variable.assign(value)
    network = add_head(config, job.labels, job.dtype_policy, prepared.backbone, job.devices.strategy)

    folder = config.improvements if job.devices.is_chief else None
    improved = improvements.kept(folder, lambda: network.calibrated(1.0))

    def fitted(name: str, model: keras.Model, source: Source, stage: Stage, before: Fitted | None) -> Fitted:
        task = Task(
            source,
            prepared.truth,
            len(job.labels),
            training,
            prepared.split.validation,
            config.batch_size,
            config.seed,
            prepared.split.test,
        )
        fitting = Fitting(
            REFIT_PREFIX + name if like else name,
            model,
            task,
            stage,
            job.devices,
            job.checkpoints,
            job.watch,
            None if like else improved,
        )
        return fitting.run(before.best_epoch if before else None)

    head_fit = None
    if config.head_stage and encoded.features is not None:
        head_source = Activations(encoded.features)
        head_fit = fitted(HEAD_STAGE, network.head, head_source, config.head_stage, like.head_fit if like else None)
    source: Source
    if network.lower is None:
        source = Images(encoded.values, config.augmentation, config.seed)
    else:
        source = Activations(encoded.values, prepared.copies, prepared.varied, config.seed)
    name = FINAL_STAGE if network.upper else HEAD_STAGE
    return TrainingResult(
        network, head_fit, fitted(name, network.fitted, source, config.final_stage, like.final_fit if like else None)
    )


def build_backbone(
    config: TrainConfig, dtype_policy: str, weights: str, strategy: tf.distribute.Strategy
) -> keras.Model:
    """Builds the backbone, to compute as Keras's dtype policy of that name says."""
    keras.backend.clear_session()  # layers are numbered from one again: the same seed gives the same model id
    keras.utils.set_random_seed(config.seed)
    with _computing_as(dtype_policy), strategy.scope():
        return backbones.build(
            config.backbone,
            weights,
            config.image.size,
            config.color_mode,
            config.layers,
            view_count=len(config.image.views),
        )


def add_head(
    config: TrainConfig,
    labels: Sequence[str],
    dtype_policy: str,
    backbone: keras.Model,
    strategy: tf.distribute.Strategy,
) -> Network:
    """Puts a head on a backbone: a new one, or that of the earlier model that the weights are from, if it fits."""
    keras.utils.set_random_seed(config.seed)
    backbone.trainable = True
    with _computing_as(dtype_policy), strategy.scope():
        network = Network.on(
            backbone,
            len(labels),
            fine_tune=config.fine_tune,
            hidden_units=config.hidden_units,
            dropout=config.dropout,
            freeze_batch_norm=config.freeze_batch_norm,
        )
    if config.weights.endswith(earlier.ENDING):
        earlier.load_head(network.head, labels, config.weights)
    return network


@contextlib.contextmanager
def _computing_as(name: str) -> Iterator[None]:
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(FULL_PRECISION)


def portable(job: Job, network: Network) -> Network:
    """The same network with weights on one device and computations that any machine can do."""
    if job.devices.replicas == 1 and job.dtype_policy == FULL_PRECISION:
        return network
    strategy = tf.distribute.get_strategy()
    backbone = build_backbone(job.config, FULL_PRECISION, names.NONE, strategy)
    plain = add_head(job.config, job.labels, FULL_PRECISION, backbone, strategy)
    plain.backbone.set_weights(network.backbone.get_weights())
    plain.head.set_weights(network.head.get_weights())
    return plain
