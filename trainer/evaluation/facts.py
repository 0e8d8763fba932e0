"""Metrics and settings of a model as text, for its report and its model card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from catalogue.cli.text import counted
from catalogue.model_dir import ModelInfo

FITTED = {"none": "the head only", "all": "all layers and the head"}
SHOWN_PAIRS = 10
_REGULARIZATION = (
    "weight_decay",
    "l1",
    "l2",
    "max_norm",
    "label_smoothing",
    "ema",
    "mixup",
)


class ClassFigures(NamedTuple):
    """Metrics of a class, from 0 to 1; None if undefined. `photos` is the number of photos of the class."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    photos: int


class Pair(NamedTuple):
    """Photos of one class that are predicted as another; `share` is their share of the photos of the true class."""

    truth: str
    predicted: str
    photos: int
    share: float


def weakest_first(metrics: dict[str, Any]) -> list[ClassFigures]:
    """Return the classes sorted by F1, lowest first; classes without photos come last.

    Args:
        metrics: metrics from `trainer.evaluation.metrics.measure`.
    """
    found = [
        ClassFigures(label, own["precision"], own["recall"], own["f1"], own["support"])
        for label, own in metrics["per_class"].items()
    ]
    return sorted(found, key=lambda one: (not one.photos, one.f1 if one.f1 is not None else 0.0, one.label))


def confused_pairs(metrics: dict[str, Any]) -> list[Pair]:
    """Return the most frequently confused pairs of classes, at most ten.

    Args:
        metrics: metrics from `trainer.evaluation.metrics.measure`.
    """
    pairs = [
        Pair(one["truth"], one["predicted"], one["count"], one["count"] / metrics["per_class"][one["truth"]]["support"])
        for one in metrics["confusion"]
        if one["truth"] != one["predicted"]
    ]
    return sorted(pairs, key=lambda pair: (-pair.photos, -pair.share, pair.truth, pair.predicted))[:SHOWN_PAIRS]


def settings(info: ModelInfo) -> Iterator[tuple[str, str]]:
    """Yield the settings that a model was trained with, as (name, description)."""
    training, data = info.training, info.data
    views = " and ".join(info.image.views)
    weights = f"weights {training['weights']}"
    yield "network", f"{training['backbone']}, {weights}, images of {info.image.size} pixels ({views})"
    layers = training.get("layers") if training["backbone"] == "convolutional" else None
    if layers:
        yield "layers", ", ".join(f"{name} {_listed(value)}" for name, value in layers.items())
    if training.get("preparation"):
        yield "preparation of pixels", training["preparation"]
    if "validation_photos" in data:
        own = f"{data['training_photos']:,} for training, {data['validation_photos']:,} for validation"
        if not data["training_photos"]:
            own = f"{data['validation_photos']:,} for evaluation, none for training"
        test = f", {data['test_photos']:,} for testing" if data.get("test_photos") else ""
        yield "photos", f"{own}{test}; {data.get('unreadable_photos', 0):,} could not be read"
    stage = training.get("main")
    if not stage or not training.get("epochs_run"):
        return
    cut = training.get("fine_tune", "")
    yield "trained layers", FITTED.get(cut, f"the layers above {training.get('cut', cut)} and the head")
    varied = {name: value for name, value in (training.get("augmentation") or {}).items() if value}
    words = ", ".join(
        name.replace("_", " ") + ("" if value is True else f" up to {value:g}") for name, value in varied.items()
    )
    copies = training.get("copies") if varied and cut not in ("", "all") else None
    yield "augmentation", (f"{words}; {copies} augmented copies of each photo" if copies else words) or "none"
    yield (
        "optimizer",
        (
            f"{stage.get('optimizer', 'adam')}, learning rate {stage['learning_rate']:g} ({stage['decay']}), "
            f"{_in_epochs(stage)}batches of {training['batch_size']}, seed {training['seed']}"
        ),
    )
    yield "regularization", ", ".join(_regularization(training, stage)) or "none"
    head = training.get("head_epochs_run")
    alone = f", after {counted(len(head), 'epoch')} of the head alone" if head else ""
    yield "epochs", f"the best is epoch {training['best_epoch']} of {len(training['epochs_run'])}{alone}"
    if training.get("refit"):
        yield "refit", "trained again up to the best epoch, with the validation photos included"
    yield "scores", f"calibrated with a temperature of {info.temperature:.2f}"


def _regularization(training: dict[str, Any], stage: dict[str, Any]) -> Iterator[str]:
    """Yield the regularization that was used, in words."""
    own = {"dropout": training.get("dropout"), **{name: stage.get(name) for name in _REGULARIZATION}}
    yield from (f"{name.replace('_', ' ')} {value:g}" for name, value in own.items() if value)
    if stage.get("class_weights", "none") != "none":
        yield f"class weights {stage['class_weights']}"


def _in_epochs(stage: dict[str, Any]) -> str:
    """Return the warmup and the patience, in epochs, if they are set."""
    words = {"warmup": stage.get("warmup_epochs"), "patience": stage.get("patience")}
    return "".join(f"{name} {value:g}, " for name, value in words.items() if value)


def _listed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
