"""What ``train`` is told: its flags, and the values they become."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.images.spec import RESIZE_RULES, ImageSpec, Limits
from catalogue.model_dir import file_digest
from trainer.data import labels
from trainer.data.examples import own_image_size
from trainer.evaluation import gates
from trainer.fitting.augmentation import DEFAULT, Augmentation
from trainer.fitting.precision import PRECISIONS
from trainer.fitting.stage import ADAMW, CLASS_WEIGHTS, DECAYS, OPTIMIZERS, RMSPROP, SGD, Stage
from trainer.networks import names

HEAD_STAGE = Stage(epochs=20, learning_rate=1e-3)
FINE_TUNING_STAGE = Stage(
    epochs=12,
    learning_rate=4e-4,
    warmup_epochs=1.0,
    decay="cosine",
    weight_decay=0.02,
    label_smoothing=0.1,
    ema=0.99,
)
FROM_SCRATCH_STAGE = Stage(epochs=30, learning_rate=1e-3)
COPIES, DROPOUT, VALIDATION_FRACTION = 6, 0.2, 0.1
SGD_LEARNING_RATE, SGD_MOMENTUM, ADAMW_DECAY = 0.01, 0.9, 0.004
CONVOLUTIONAL = "convolutional"
HEAD_CHOICES = ("new", "imagenet")
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``train``."""
    add_data_arguments(parser.add_argument)
    _add_places(parser.add_argument)
    gates.add_gate_argument(parser)
    parser.add_argument(
        "--head",
        choices=HEAD_CHOICES,
        default=HEAD_CHOICES[0],
        help="new: one for the classes of --data; imagenet: the network as it is, with its own head and ImageNet's "
        "1,000 classes, where nothing is fitted and --data is any photos",
    )
    add_method_arguments(parser)


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what is fitted and how: those that ``sweep`` can vary."""
    _add_network(parser.add_argument_group("network").add_argument)
    _add_fitting(parser.add_argument_group("fitting").add_argument)
    _add_augmentation(parser.add_argument_group("augmentation").add_argument)
    flags.add_limit_arguments(parser)


def add_data_arguments(add: Any) -> None:
    """Adds ``--data`` and ``--validation-data``; `add` is a parser's or a group's ``add_argument``."""
    add(
        "--data",
        type=flags.path,
        required=True,
        metavar="DATA",
        help="folder with one sub-folder of photos for each class; or a list (.csv, .tsv, .jsonl, .parquet) with the "
        "columns uri and label; or an IDX file of pictures",
    )
    add(
        "--validation-data",
        type=flags.path,
        metavar="DATA",
        help="the like, to choose the best epoch by; without it a part of --data is held out",
    )
    add(
        "--validation-fraction",
        type=flags.share,
        default=VALIDATION_FRACTION,
        metavar="R",
        help="how much of --data is held out to choose the best epoch by",
    )
    add(
        "--test-data",
        type=flags.path,
        metavar="DATA",
        help="the like, to measure the finished model on, once: its accuracy is not flattered by any choice",
    )
    add(
        "--test-fraction",
        type=flags.share,
        metavar="R",
        help="how much of --data is held out to test on, where there is no --test-data",
    )
    add(
        "--class-names",
        type=labels.class_names,
        metavar="NAME,NAME...",
        help="what the numbers of an IDX file stand for, from 0; or a text file with a name in each line",
    )
    add(
        "--refit",
        action="store_true",
        help="once the best epoch is known, fit again up to it with the photos that validated, too",
    )
    add(
        "--drop",
        type=flags.path,
        metavar="FILE",
        help="a list of photos to leave out, with the column uri, such as label_issues.csv of a model directory",
    )


def _add_places(add: Any) -> None:
    model_dir = os.environ.get("AIP_MODEL_DIR")
    add(
        "--model-dir",
        type=flags.path,
        default=model_dir,
        required=not model_dir,
        metavar="DIR",
        help="where the model directory goes; Vertex AI's AIP_MODEL_DIR is the default",
    )
    add("--overwrite", action="store_true", help="replace the model directory that is there")
    add("--resume", action="store_true", help="go on where the same command was interrupted")
    add(
        "--checkpoint-dir",
        type=flags.path,
        default=os.environ.get("AIP_CHECKPOINT_DIR"),
        metavar="DIR",
        help="what --resume needs is kept here until the model is written (default: AIP_CHECKPOINT_DIR, or a folder "
        "beside the model directory)",
    )
    add(
        "--checkpoint-seconds",
        type=flags.non_negative_float,
        default=30.0,
        metavar="S",
        help="time between two checkpoints",
    )
    add(
        "--log-dir",
        type=flags.path,
        default=os.environ.get("AIP_TENSORBOARD_LOG_DIR"),
        metavar="DIR",
        help="write event files for TensorBoard here; AIP_TENSORBOARD_LOG_DIR is the default",
    )
    add(
        "--improvements",
        type=flags.path,
        metavar="DIR",
        help="keep here the network of each epoch that was the best so far, as a .keras file",
    )


def _add_network(add: Any) -> None:
    add("--backbone", default="MobileNetV2", metavar="NAME", help="a network of keras.applications, or one of ours")
    add(
        "--weights",
        metavar="imagenet|none|FILE",
        help="weights to start from: imagenet, none (every layer is fitted), the model.keras of an earlier model "
        "directory, or a file that Keras wrote of the network without its top (default: imagenet, none for ours)",
    )
    add(
        "--fine-tune",
        metavar="none|top|all|LAYER",
        help="what of the backbone is fitted besides the head: none, its top blocks (top), all, or what is above a "
        "layer, by its name (default: none, all with --weights none)",
    )
    add(
        "--hidden-units",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help="dense layers between the backbone and the last layer, such as 64,32",
    )
    add(
        "--dropout",
        type=flags.fraction,
        default=DROPOUT,
        metavar="R",
        help="before the last layer, after hidden ones",
    )
    add(
        "--image-size",
        type=flags.positive_int,
        metavar="PIXELS",
        help="side of the images the network sees (default: that of the network, 224 for keras.applications; that of "
        "the pictures in an IDX file for ours)",
    )
    add(
        "--resize",
        choices=RESIZE_RULES,
        default=RESIZE_RULES[0],
        help="how a photo becomes that square: its middle cropped, white padded beside it, or stretched",
    )
    add(
        "--views",
        type=_views,
        metavar="RULE,RULE",
        help="several such squares, as in crop,pad: the network sees each, and their features are averaged; training "
        "and classifying take as many times longer",
    )
    add(
        "--color-mode",
        choices=names.COLOR_MODES,
        default=names.COLOR_MODES[0],
        help="whether a network of ours sees colours",
    )
    add(
        "--convolutions",
        type=flags.positive_ints,
        metavar="N[,N...]",
        help=f"filters of each convolution of the backbone {CONVOLUTIONAL} (default: 32,64,128)",
    )
    add("--kernel", type=flags.positive_int, metavar="PIXELS", help="side of their filters (default: 3)")
    add("--strides", type=flags.positive_int, metavar="PIXELS", help="by how much their filters move (default: 1)")
    add("--pooling", choices=names.POOLINGS, help="after each of them, over 2 x 2 pixels (default: max)")


def _add_fitting(add: Any) -> None:
    add(
        "--epochs",
        type=flags.positive_int,
        metavar="N",
        help=f"at most; the best one is kept (default: {HEAD_STAGE.epochs} for the head, "
        f"{FINE_TUNING_STAGE.epochs} for fine-tuning, {FROM_SCRATCH_STAGE.epochs} from scratch)",
    )
    add("--batch-size", type=flags.positive_int, default=32, metavar="N", help="photos to a step, on all devices")
    add(
        "--learning-rate",
        type=flags.positive_float,
        metavar="R",
        help=f"of the optimizer (default: {HEAD_STAGE.learning_rate}, {FINE_TUNING_STAGE.learning_rate} for "
        f"fine-tuning, {SGD_LEARNING_RATE} with sgd)",
    )
    add("--optimizer", choices=OPTIMIZERS, help="what moves the weights (default: adam)")
    add("--momentum", type=flags.fraction, metavar="R", help="of sgd and rmsprop (default: 0.9 with sgd, else 0)")
    add(
        "--warmup-epochs",
        type=flags.non_negative_float,
        metavar="N",
        help="in which the rate rises from zero (default: 0, 1 for fine-tuning)",
    )
    add(
        "--decay",
        choices=DECAYS,
        help="of the rate until the last epoch (default: constant, cosine for fine-tuning)",
    )
    add(
        "--weight-decay",
        type=flags.non_negative_float,
        metavar="R",
        help=f"as in AdamW (default: 0, {FINE_TUNING_STAGE.weight_decay} for fine-tuning, {ADAMW_DECAY} with adamw)",
    )
    add("--l1", type=flags.non_negative_float, metavar="R", help="penalty on the absolute weights (default: 0)")
    add("--l2", type=flags.non_negative_float, metavar="R", help="penalty on the squared weights (default: 0)")
    add("--max-norm", type=flags.positive_float, metavar="R", help="largest norm of the weights into a unit")
    add(
        "--label-smoothing",
        type=flags.fraction,
        metavar="R",
        help="share of the truth spread over all classes "
        f"(default: 0, {FINE_TUNING_STAGE.label_smoothing} for fine-tuning)",
    )
    add(
        "--ema",
        type=flags.fraction,
        metavar="R",
        help=f"decay of a moving average of the weights (default: 0, {FINE_TUNING_STAGE.ema} for fine-tuning)",
    )
    add("--mixup", type=flags.non_negative_float, default=0.0, metavar="ALPHA", help="mix pairs of photos")
    add("--class-weights", choices=CLASS_WEIGHTS, default="none", help="let every class count the same")
    add(
        "--patience",
        type=flags.non_negative_int,
        default=0,
        metavar="N",
        help="stop after N epochs without improvement; 0 never does",
    )
    add(
        "--head-epochs",
        type=flags.positive_int,
        default=10,
        metavar="N",
        help="in which the head is fitted alone before fine-tuning",
    )
    add(
        "--batch-norm",
        choices=("frozen", "fitted"),
        help="whether fine-tuning changes batch normalisation (default: frozen, fitted from scratch)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the computations; auto: half on a GPU; else full, and bfloat16 in what is frozen if the CPU has it",
    )
    add(
        "--seed",
        type=flags.seed,
        default=0,
        metavar="N",
        help="of the initial weights, the shuffling, the dropout and the augmentation",
    )


def _add_augmentation(add: Any) -> None:
    add(
        "--augment",
        action="store_true",
        help="vary photos in a way that suits most products; the flags below refine it",
    )
    add("--flip", action=argparse.BooleanOptionalAction, help=f"mirror half of them (with --augment: {DEFAULT.flip})")
    add("--vertical-flip", action="store_true", default=None, help="mirror half of them upside down")
    add("--quarter-turns", action="store_true", default=None, help="turn them by 0, 90, 180 or 270 degrees")
    for name, unit in (
        ("rotation", "degrees"),
        ("zoom", "share of the size"),
        ("shift", "share of the side"),
        ("shear", "degrees"),
        ("color", "share of brightness, contrast and saturation"),
    ):
        default = getattr(DEFAULT, name)
        help_text = f"{unit}, at most (with --augment: {default:g})"
        add(f"--{name}", type=flags.non_negative_float, metavar="X", help=help_text)
    add(
        "--copies",
        type=flags.positive_int,
        default=COPIES,
        metavar="N",
        help="varied copies of each photo that go through the frozen part of a network",
    )


def config_from(arguments: argparse.Namespace) -> TrainConfig:
    """Flags to a `TrainConfig`.

    Raises:
        UserError: they contradict each other.
    """
    a = arguments
    weights = a.weights or names.default_weights(a.backbone)
    from_scratch = weights == names.NONE
    keep_top = a.head != HEAD_CHOICES[0]
    if a.validation_data and a.validation_fraction != VALIDATION_FRACTION:
        raise UserError("--validation-fraction and --validation-data do not go together: give one of them")
    if a.test_data and a.test_fraction:
        raise UserError("--test-fraction and --test-data do not go together: give one of them")
    if a.validation_fraction + (a.test_fraction or 0.0) >= 1:
        raise UserError("--validation-fraction and --test-fraction leave nothing to train on")
    if keep_top:
        _check_nothing_is_fitted(a, weights)
    fine_tune = a.fine_tune or (names.EVERYTHING if from_scratch else names.NOTHING)
    if from_scratch and fine_tune != names.EVERYTHING:
        raise UserError(
            f"--fine-tune {fine_tune} would leave random weights as they are: give --weights or leave it out"
        )
    frozen = fine_tune == names.NOTHING
    final_stage = FROM_SCRATCH_STAGE if from_scratch else HEAD_STAGE if frozen else FINE_TUNING_STAGE
    given = {name: getattr(a, name) for name in (field.name for field in dataclasses.fields(Stage))}
    given = {name: value for name, value in given.items() if value is not None}
    final_stage = dataclasses.replace(final_stage, **(_optimizer_defaults(a, final_stage) | given))
    head_stage = None if from_scratch or frozen else dataclasses.replace(HEAD_STAGE, epochs=a.head_epochs)
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
        layers=_layers(a),
        keep_top=keep_top,
        fine_tune=fine_tune,
        hidden_units=a.hidden_units or (),
        dropout=a.dropout,
        freeze_batch_norm=freeze_batch_norm,
        image=_image_spec(a.image_size or _image_size(a.backbone, a.data, keep_top), a.resize, a.views),
        limits=flags.limits(a),
        augmentation=_augmentation(a),
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


def _optimizer_defaults(arguments: argparse.Namespace, stage: Stage) -> dict[str, float]:
    """What an optimizer that is asked for needs and the user does not say. Raises UserError."""
    if arguments.momentum and arguments.optimizer not in (SGD, RMSPROP):
        raise UserError(f"--momentum is for --optimizer {SGD} and {RMSPROP}")
    if arguments.optimizer == SGD:
        return {"learning_rate": SGD_LEARNING_RATE, "momentum": SGD_MOMENTUM}
    return {"weight_decay": stage.weight_decay or ADAMW_DECAY} if arguments.optimizer == ADAMW else {}


def _layers(arguments: argparse.Namespace) -> names.Layers:
    """The layers of the network ``convolutional``. Raises UserError where another network is meant."""
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(names.Layers)}
    given = {name: value for name, value in given.items() if value is not None}
    if given and arguments.backbone != CONVOLUTIONAL:
        raise UserError(f"--{next(iter(given))} is for --backbone {CONVOLUTIONAL}")
    return names.Layers(**given)


def _beside(model_dir: str) -> str:
    """A folder next to the model directory; its name does not begin with that one's, which object stores take ill."""
    folder, slash, name = model_dir.rstrip("/").rpartition("/")
    return f"{folder}{slash}checkpoints-{name}"


def _check_nothing_is_fitted(arguments: argparse.Namespace, weights: str) -> None:
    """Raises UserError where flags say how what is used as it is should be fitted."""
    if weights == names.NONE:
        raise UserError(f"--head {arguments.head} takes a network of keras.applications and its weights")
    parser = flags.Parser()
    _add_fitting(parser.add_argument)
    _add_augmentation(parser.add_argument)
    fitting_flags = {action.dest: (action.option_strings[0], action.default) for action in parser._actions[1:]}
    fitting_flags |= {"validation_data": ("--validation-data", None), "test_data": ("--test-data", None)}
    fitting_flags |= {"hidden_units": ("--hidden-units", None)}
    fitting_flags |= {"dropout": ("--dropout", DROPOUT), "test_fraction": ("--test-fraction", None)}
    fitting_flags |= {"refit": ("--refit", False)}
    fitting_flags |= {"validation_fraction": ("--validation-fraction", VALIDATION_FRACTION)}
    for name, (flag, default) in fitting_flags.items():
        if name not in ("batch_size", "precision", "seed") and getattr(arguments, name) != default:
            raise UserError(f"--head {arguments.head} fits nothing: leave {flag} out")
    if arguments.fine_tune not in (None, names.NOTHING):
        raise UserError(f"--head {arguments.head} fits nothing: leave --fine-tune out")


def _image_size(backbone: str, data: str, keep_top: bool) -> int:
    if keep_top:
        return names.image_size_of_top(backbone)
    own = own_image_size(data) if names.is_own(backbone) else None
    return own or names.default_image_size(backbone)


def _views(text: str) -> str:
    """For argparse: resize rules, with commas between them. Raises ArgumentTypeError."""
    try:
        return ImageSpec(names.default_image_size(""), text).resize
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _image_spec(size: int, resize: str, views: str | None) -> ImageSpec:
    if views and resize != RESIZE_RULES[0]:
        raise UserError("--views says how photos are resized: leave --resize out")
    try:
        return ImageSpec(size, views or resize)
    except ValueError as error:
        raise UserError(f"--image-size: {error}") from error


def _augmentation(arguments: argparse.Namespace) -> Augmentation:
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Augmentation)}
    chosen = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(DEFAULT if arguments.augment else Augmentation(), **chosen)
