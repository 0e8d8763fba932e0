"""The evaluation of a model as one HTML page, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer import page
from trainer.dataset import data_of
from trainer.model_dir import ModelInfo
from trainer.preprocessing import ImageError, read_thumbnail

PICTURES = 12
THUMBNAIL_SIDE = 160


def evaluation_page(
    info: ModelInfo,
    metrics: dict[str, Any],
    uris: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    unreadable: int,
    *,
    subject: str,
    fitting: bool = False,
) -> str:
    """The page for one set of photos.

    Args:
        info: of the model.
        metrics: what `trainer.evaluation.metrics` gave.
        uris: of the N photos.
        truth: int [N].
        probabilities: float [N, K].
        unreadable: how many photos more there would have been.
        subject: what was evaluated on what, for the reader.
        fitting: whether to show the story of the epochs, which belongs to the photos the best one was chosen by.
    """
    score = probabilities.max(axis=1)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != truth)
    most_wrong = wrong[np.argsort(-score[wrong], kind="stable")][:PICTURES]
    least_sure = np.argsort(score, kind="stable")[:PICTURES]
    figures = {
        "accuracy": f"{metrics['accuracy']:.1%}",
        "log loss": f"{metrics['log_loss']:.3f}",
        "photos": f"{metrics['examples']:,}",
        "unreadable": f"{unreadable:,}",
        "classes": f"{len(info.labels):,}",
        "temperature": f"{info.temperature:.2f}",
    }

    def gallery(indices: np.ndarray) -> str:
        return page.gallery(_figure(info, uris[n], truth[n], probabilities[n]) for n in indices)

    backbone = f"{info.training['backbone']}, {info.image.size} pixels, weights {info.training['weights']}"
    return page.document(
        "Evaluation",
        f"{subject}; model {info.id}: {backbone}; trained {info.created}" if info.id else f"{subject}; {backbone}",
        [
            page.cards(figures),
            page.section("Classes", _class_table(info, metrics)),
            page.section("Confusion: rows are the truth, columns what was predicted", _confusion_table(info, metrics)),
            page.section("Most wrong", gallery(most_wrong) if len(most_wrong) else "<p>None is wrong.</p>"),
            page.section("Least sure", gallery(least_sure)),
            *([page.section("Fitting", _history(info))] if fitting else []),
        ],
    )


def _class_table(info: ModelInfo, metrics: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    rows = [
        [
            page.text(label),
            percent(values["precision"]),
            percent(values["recall"]),
            percent(values["f1"]),
            f"{values['support']:,}",
            percent(info.class_shares.get(label)),
        ]
        for label, values in metrics["per_class"].items()
    ]
    return page.table(["class", "precision", "recall", "F1", "photos", "share in training"], rows)


def _confusion_table(info: ModelInfo, metrics: dict[str, Any]) -> str:
    rows = [
        [f"<b>{page.text(label)}</b>", *(str(count) if count else "·" for count in counts)]
        for label, counts in zip(info.labels, metrics["confusion"], strict=True)
    ]
    return page.table(["", *info.labels], rows)


def _history(info: ModelInfo) -> str:
    epochs = info.training["epochs_run"]
    charts = [
        page.curves({"training": [e[name] for e in epochs], "validation": [e[f"val_{name}"] for e in epochs]})
        for name in ("accuracy", "loss")
    ]
    titles = (f"<p>Best epoch: {info.training['best_epoch']} of {len(epochs)}.</p><p>Accuracy</p>", "<p>Loss</p>")
    return "".join(title + chart for title, chart in zip(titles, charts, strict=True))


def _figure(info: ModelInfo, path: str, truth: int, probabilities: np.ndarray) -> str:
    predicted = int(probabilities.argmax())
    caption = f"{page.text(info.labels[predicted])} {probabilities[predicted]:.0%}"
    if predicted != truth:
        caption += f"<br>is {page.text(info.labels[truth])} {probabilities[truth]:.0%}"
    try:
        picture = page.jpeg(read_thumbnail(data_of(path), THUMBNAIL_SIDE))
    except ImageError:  # it was readable a minute ago; the report can do without it
        picture = None
    return page.figure(picture, caption, path)
