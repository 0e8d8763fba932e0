"""How good a model is, in sentences: for the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterator

from catalogue.cli.text import counted
from catalogue.model_dir import ModelInfo
from trainer.evaluation.metrics import accuracy_around, is_chance


def sentences(info: ModelInfo) -> Iterator[str]:
    """What the accuracy of a model is, and what that figure is good for; nothing if it was not measured."""
    found, tested = info.metrics, info.test_metrics
    if not found:
        return
    measured = f"validation accuracy {found['accuracy']:.3f} on {counted(found['examples'], 'photo')}"
    epochs = info.training["epochs_run"]
    if not epochs:
        yield measured
    else:
        best = info.training["best_epoch"]
        near = accuracy_around(epochs, best)
        around = f"; {near[0]:.3f} to {near[1]:.3f} in the epochs around it" if near else ""
        yield f"{measured}, in the best epoch, {best} of {len(epochs)}{around}"
    if info.training.get("refit"):
        yield "the model itself was fitted to these photos, too, up to the same epoch"
    if tested:
        low, high = tested["accuracy_interval"]
        yield (
            f"test accuracy {tested['accuracy']:.3f} on {counted(tested['examples'], 'photo')}, 95 % interval "
            f"{low:.3f} to {high:.3f}: the figure to rely on, since nothing was chosen by these photos"
        )
    elif epochs:
        yield (
            "the epoch was chosen by these photos, and the scores are calibrated on them: good for comparing settings, "
            "a little too high for a forecast; --test-data measures on photos of its own"
        )
    last = tested or found
    share = f"{last['baseline_accuracy']:.3f} of the photos"
    if is_chance(last):
        yield f"warning: no better than chance: always answering the most frequent label is right for {share}"
    else:
        yield f"always answering the most frequent label would be right for {share}"
