"""Sentences on the accuracy of a model, for the terminal, the report and the model card."""

from __future__ import annotations

from collections.abc import Iterator

from catalogue.cli.text import counted
from catalogue.model_dir import ModelInfo
from trainer.evaluation.metrics import accuracy_around, is_chance


def sentences(info: ModelInfo) -> Iterator[str]:
    """Yield sentences on the accuracy of a model and how reliable that figure is; none for an unmeasured model."""
    found, tested = info.metrics, info.test_metrics
    if not found:
        return
    measured = f"accuracy {found['accuracy']:.3f} on {counted(found['examples'], 'photo')}"
    epochs = info.training["epochs_run"]
    if not epochs:
        low, high = found["accuracy_interval"]
        yield f"{measured}, 95 % interval {low:.3f} to {high:.3f}"
    else:
        best = info.training["best_epoch"]
        near = accuracy_around(epochs, best)
        around = f"; {near[0]:.3f} to {near[1]:.3f} in the neighboring epochs" if near else ""
        yield f"validation {measured}, in the best epoch, {best} of {len(epochs)}{around}"
    if info.training.get("refit"):
        yield "the final model was also fitted to these photos, up to the same epoch"
    if tested:
        low, high = tested["accuracy_interval"]
        yield (
            f"test accuracy {tested['accuracy']:.3f} on {counted(tested['examples'], 'photo')}, 95 % interval "
            f"{low:.3f} to {high:.3f}: the figure to rely on, since these photos were used for nothing else"
        )
    elif epochs:
        yield (
            "the epoch was chosen and the scores were calibrated on these photos: use this accuracy to compare "
            "settings, but expect slightly less on new photos; give --test-data to measure on held-out photos"
        )
    last = tested or found
    share = f"{last['baseline_accuracy']:.3f} of the photos"
    if is_chance(last) and last["accuracy"] > last["baseline_accuracy"]:
        yield (
            f"warning: on {counted(last['examples'], 'photo')} this accuracy is not distinguishable from chance: "
            f"always predicting the most frequent label is right for {share}"
        )
    elif is_chance(last):
        yield (
            "warning: the model is no better than chance: always predicting the most frequent label is right for "
            f"{share}"
        )
    else:
        yield f"always predicting the most frequent label would be right for {share}"
