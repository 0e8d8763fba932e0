"""The report of a model: an HTML page with metrics, photos and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from catalogue.html import charts, page
from catalogue.model_dir import ModelInfo
from trainer.evaluation import confusion, facts, verdict
from trainer.evaluation.evaluated import Comparison, Evaluated
from trainer.evaluation.pictures import Pictures

PICTURES, NETWORK_INPUTS = 12, 4
_INPUTS = "<p>Each photo, and the part of it that the network sees. Anything cut off here cannot be recognized.</p>"


def evaluation_page(
    info: ModelInfo,
    metrics: dict[str, Any],
    evaluated: Evaluated,
    *,
    comparison: Comparison | None = None,
    fitting: bool = False,
    about_data: Sequence[str] = (),
    parent: str = "",
) -> str:
    """Return the page for one set of photos.

    Args:
        info: contents of the model's ``model.json``.
        metrics: result of `trainer.evaluation.metrics.measure`; empty for unlabeled photos.
        evaluated: photos and predictions.
        comparison: comparison with another model; None for none.
        fitting: whether to show how the model was trained: verdict, validation metrics beside test metrics, curves.
        about_data: sections about the training photos, see `trainer.evaluation.data_sections`.
        parent: HTML, a link to the page that lists this one.
    """
    figures = {
        **(_figures(metrics) if metrics else {}),
        "photos": f"{len(evaluated.uris):,}",
        "unreadable": f"{evaluated.unreadable:,}",
        "classes": f"{len(info.labels):,}",
    }
    pictures = Pictures(info, evaluated)
    least_certain = page.section("Least certain", pictures.gallery(evaluated.least_certain[:PICTURES]))
    inputs = pictures.as_network_input(evaluated.least_certain[:NETWORK_INPUTS])
    backbone = f"{info.training['backbone']}, {info.image.size} pixels, weights {info.training['weights']}"
    validation = _figures(info.metrics) if fitting and info.test_metrics else None
    model = [f"model {info.id}", f"written {page.moment(info.created)}"] if info.id else []
    return page.document(
        "Model report",
        " · ".join([evaluated.subject, *model, backbone]),
        [
            page.cards(figures),
            *([_verdict(info)] if fitting else []),
            *([page.section("Validation photos", page.cards(validation))] if validation else []),
            *([page.section("Comparison", _comparison(info, comparison, evaluated, pictures))] if comparison else []),
            *(_against_truth(info, metrics, evaluated, pictures) if metrics else []),
            least_certain,
            *([page.section("Calibration", _calibration(info, metrics))] if metrics else []),
            page.section("Samples", pictures.samples()),
            *([page.section("As the network sees them", _INPUTS, inputs)] if inputs else []),
            page.section("Settings", _settings(info)),
            *about_data,
            *([page.section("Training curves", _history(info))] if fitting else []),
            page.section("Network", _network(info)),
        ],
        headline=_headline(info, metrics, "on test photos" if validation else ""),
        parent=parent,
    )


def _verdict(info: ModelInfo) -> str:
    return f"<p>{' '.join(page.text(s[0].upper() + s[1:] + '.') for s in verdict.sentences(info))}</p>"


def _headline(info: ModelInfo, metrics: dict[str, Any], where: str) -> str:
    classes = f"{len(info.labels):,} classes"
    return (
        f"{classes}, {metrics['accuracy']:.1%} accurate {where}".rstrip() if metrics else f"Predictions for {classes}"
    )


def _figures(metrics: dict[str, Any]) -> dict[str, str]:
    low, high = metrics["accuracy_interval"]
    return {
        "accuracy": f"{metrics['accuracy']:.1%}",
        "95 % interval": f"{low:.1%} – {high:.1%}",
        "top-5 accuracy": f"{metrics['top_5_accuracy']:.1%}",
        "macro F1": f"{metrics['macro_f1']:.3f}",
        "log loss": f"{metrics['log_loss']:.3f}",
    }


def _against_truth(info: ModelInfo, metrics: dict[str, Any], evaluated: Evaluated, pictures: Pictures) -> Iterator[str]:
    yield page.section("Classes", _class_table(info, metrics, pictures))
    pairs = facts.confused_pairs(metrics)
    if pairs:
        rows = [
            [page.text(pair.truth), page.text(pair.predicted), f"{pair.photos:,}", f"{pair.share:.0%}"]
            for pair in pairs
        ]
        table = page.table(["class", "predicted as", "photos", "share of the class"], rows, wide=(1,))
        yield page.section("Most confused pairs", table)
    shown = confusion.confused_classes(evaluated, len(info.labels))
    which = "" if len(shown) == len(info.labels) else f"The {len(shown)} classes with the most errors. "
    yield page.section(
        "Confusion matrix",
        f"<p>{which}Rows are true classes, columns are predicted classes. Click a linked number to see its photos.</p>",
        confusion.confusion_table(info, evaluated, shown),
        pictures.of_cells(shown),
    )
    errors = pictures.gallery(evaluated.most_wrong[:PICTURES])
    yield page.section("Most confident errors", f"<p>The true label is bold.</p>{errors}" if errors else "<p>None.</p>")


def _class_table(info: ModelInfo, metrics: dict[str, Any], pictures: Pictures) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    most = max(1, *(values["support"] for values in metrics["per_class"].values()))
    largest = max(info.class_shares.values(), default=1.0)
    rows = [
        [
            pictures.class_link(one.label),
            percent(one.precision),
            percent(one.recall),
            percent(one.f1),
            f"{one.photos:,} {page.bar(one.photos / most)}",
            f"{percent(info.class_shares.get(one.label))} {page.bar(info.class_shares.get(one.label, 0.0) / largest)}",
        ]
        for one in facts.weakest_first(metrics)
    ]
    header = ["class", "precision", "recall", "F1", "photos", "share in training"]
    return "<p>Weakest class first; click a class to see its photos.</p>" + page.table(header, rows)


def _calibration(info: ModelInfo, metrics: dict[str, Any]) -> str:
    after, before = metrics["calibration_error"], metrics["calibration_error_before"]
    words = (
        f"<p>Calibration error {after:.3f}; before temperature scaling (temperature {info.temperature:.2f}): "
        f"{before:.3f}. Bars below the line mean overconfident scores."
        + (" Scaling minimizes the log loss; this can raise the calibration error." if after > before else "")
        + "</p>"
    )
    return words + charts.reliability_diagram(metrics["reliability"])


def _comparison(info: ModelInfo, comparison: Comparison, evaluated: Evaluated, pictures: Pictures) -> str:
    found = comparison.result
    cards = {
        f"accuracy of {comparison.before}": f"{found['accuracy_before']:.1%}",
        f"accuracy of {info.id}": f"{found['accuracy']:.1%}",
        "fixed": f"{found['fixed']:,}",
        "broken": f"{found['broken']:,}",
        "p (McNemar)": f"{found['p_value']:.3g}",
    }
    if found["examples"] < len(evaluated.uris):
        cards["photos both models read"] = f"{found['examples']:,}"
    rows = [[page.text(label), f"{n['fixed']:,}", f"{n['broken']:,}"] for label, n in found["per_class"].items()]
    if not rows:
        return page.cards(cards) + "<p>No prediction became right or wrong.</p>"
    galleries = ""
    for title, flipped in (("Broken: right before", comparison.broken), ("Fixed: wrong before", comparison.fixed)):
        chosen = np.flatnonzero(flipped)[:PICTURES]
        notes = {row: _before(info, comparison.old[row]) for row in chosen.tolist()}
        galleries += f"<p>{title}</p>{pictures.gallery(chosen, notes)}" if notes else ""
    return page.cards(cards) + page.table(["class", "fixed", "broken"], rows) + galleries


def _before(info: ModelInfo, label: int) -> str:
    return f"before: {info.labels[label] if label >= 0 else 'another label'}"


def _history(info: ModelInfo) -> str:
    training = info.training
    stages = [("", training["epochs_run"], training["best_epoch"])]
    if training["head_epochs_run"]:
        head = training["head_epochs_run"]
        stages.insert(0, (", head only", head, training["head_best_epoch"]))
    return "".join(
        page.side_by_side((f"{name.capitalize()}{what}", curves(epochs, name, best)) for name in ("accuracy", "loss"))
        for what, epochs, best in stages
    )


def curves(
    epochs: Sequence[dict[str, float]], name: str, best: int | None, bounds: tuple[float, float] | None = None
) -> str:
    """Draw training and validation curves of accuracy or loss.

    Args:
        epochs: metrics per epoch, see `trainer.fitting.loop.Fitted`.
        name: ``accuracy`` or ``loss``.
        best: best epoch, from one; None if unknown.
        bounds: limits of the y axis, see `catalogue.html.charts.curves`.
    """
    lines = {"training": [e[name] for e in epochs], "validation": [e[f"val_{name}"] for e in epochs]}
    return charts.curves(lines, best=best, bounds=bounds)


def _settings(info: ModelInfo) -> str:
    rows = [[page.text(name), page.text(words)] for name, words in facts.settings(info)]
    return page.table(["", ""], rows, wide=[1])


def _network(info: ModelInfo) -> str:
    rows = [
        [
            page.text(layer["name"]),
            page.text(layer["kind"]),
            page.text(" × ".join(map(str, layer["output"]))),
            f"{layer['parameters']:,}",
            "yes" if layer["fitted"] else "",
        ]
        for layer in info.network
    ]
    total = sum(layer["parameters"] for layer in info.network)
    fitted = sum(layer["parameters"] for layer in info.network if layer["fitted"])
    words = f"{len(rows):,} layers, {total:,} parameters, {fitted:,} of them trained"
    return page.details(words, page.table(["layer", "kind", "output", "parameters", "trained"], rows))
