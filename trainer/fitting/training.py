"""Training of a network on labeled photos: runs the frozen layers over the photos, then trains the other layers."""

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
_MOST_FEATURES = 2**28  # 1 GB as float32; the searches for near-duplicates and label issues make a copy or two


@dataclasses.dataclass(frozen=True)
class Job:
    """Settings and resources of a run.

    Attributes:
        config: settings of the run.
        labels: classes, in order.
        photos: digest of the photos, see `trainer.data.sides.Sides.digest`.
        devices: devices to run on.
        checkpoints, scratch: checkpoints, and the local folder of the encoded photos.
        watch: callback after each epoch, see `trainer.fitting.loop.Fitting`.
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
        """Name of the Keras dtype policy."""
        return precision.dtype_policy(self.config.precision, self.devices.gpus)

    @property
    def frozen_in_bfloat16(self) -> bool:
        """Whether the frozen layers compute in bfloat16, except for validation and test photos."""
        return precision.frozen_in_bfloat16(self.config.precision, self.devices)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Inputs of fitting that do not depend on its settings.

    Attributes:
        backbone: backbone, see `trainer.networks.backbones.build`.
        initial: weights of the backbone before fitting.
        encoder, encoded: encoder with the frozen part, and its outputs for the N photos.
        truth: int [N], indices of the true labels.
        split: split of the photos.
        copies: encoded augmented copies, see `trainer.fitting.encoder.Encoder.copies`; None if there are none.
        varied: int, rows of the photos that the copies belong to.
        duplicates: near-duplicates among the photos; None if they are unknown.
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
    """A fitted network, with the results of fitting its head alone, if requested, and then all trainable layers."""

    network: Network
    head_fit: Fitted | None
    final_fit: Fitted


def prepare(
    job: Job, examples: Sequence[Example], held_out: Sequence[Example], test: Sequence[Example] = ()
) -> Prepared:
    """Read the photos and run the frozen layers over them.

    Args:
        job: settings and resources of the run.
        examples: training photos; a part of them is held out for validation if `held_out` is empty.
        held_out: validation photos.
        test: test photos, on which each fitted network is measured.

    Raises:
        UserError: the photos cannot be trained on, or the network cannot be built.
        Fault: the workers found different photos.
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
    """Find near-duplicates among some photos by the features of a pretrained network.

    The split depends on them, so all workers use the chief's near-duplicates, and a resumed run reuses those of the
    interrupted run.

    Args:
        job: settings and resources of the run.
        encoded: all photos.
        rows: int, rows of the training and validation photos.

    Returns:
        The near-duplicates; None without features of a pretrained network, or if the features are too large to search.
    """
    if encoded.features is None or job.config.weights == names.NONE or encoded.features.size > _MOST_FEATURES:
        return None
    found = job.checkpoints.load(SPLIT) if job.devices.is_chief else None
    pairs = found[0][0] if found else rows[near_duplicates(encoded.features[rows]).pairs]
    if job.devices.is_chief and not found:
        job.checkpoints.save(SPLIT, [pairs], {})
    return Duplicates(np.array(job.devices.json_from_chief(pairs.tolist()), int).reshape(-1, 2), len(encoded.examples))


def fit(job: Job, prepared: Prepared) -> TrainingResult:
    """Fit the head and the other trainable layers to prepared photos, from the initial weights.

    With ``--refit`` the network is fitted again with the validation photos included, up to the best epochs of the first
    fit. The result then has the second network, and the measurements of the first fit.

    Raises:
        CommandFailed: the training diverged.
    """
    split = prepared.split
    first = _fit_stages(job, prepared, split.training)
    checks.check_fitted(first.final_fit.logits, prepared.truth[split.validation])
    if not job.config.refit:
        return first
    say("fitting again, with the validation photos included")
    rows = np.union1d(split.training, split.validation)
    return dataclasses.replace(first, network=_fit_stages(job, prepared, rows, like=first).network)


def _fit_stages(
    job: Job, prepared: Prepared, training: np.ndarray, like: TrainingResult | None = None
) -> TrainingResult:
    """Fit the head alone, if requested, then all trainable layers.

    Args:
        job, prepared: settings and photos of the run, see `fit`.
        training: rows of the training photos, in order.
        like: earlier fit whose best epochs end the stages; None to choose the best epochs.
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
    """Build the backbone under a Keras dtype policy."""
    keras.backend.clear_session()  # restarts the layer numbering, so that the same seed gives the same model id
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
    """Add a head to a backbone.

    The head's weights are loaded too if ``config.weights`` names an earlier model whose classes and head layers match.
    """
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
    """Return the same network rebuilt in full precision, with its weights on one device."""
    if job.devices.replicas == 1 and job.dtype_policy == FULL_PRECISION:
        return network
    strategy = tf.distribute.get_strategy()
    backbone = build_backbone(job.config, FULL_PRECISION, names.NONE, strategy)
    plain = add_head(job.config, job.labels, FULL_PRECISION, backbone, strategy)
    plain.backbone.set_weights(network.backbone.get_weights())
    plain.head.set_weights(network.head.get_weights())
    return plain
