"""The evaluation of a model as one HTML page, for people."""

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
_INPUTS = "<p>Each photo, and the pixels the network takes of it. Whatever is cut off here cannot be recognized.</p>"


def evaluation_page(
    info: ModelInfo,
    metrics: dict[str, Any],
    evaluated: Evaluated,
    *,
    comparison: Comparison | None = None,
    fitting: bool = False,
    about_data: Sequence[str] = (),
) -> str:
    """The page for one set of photos.

    Args:
        info: of the model.
        metrics: what `trainer.evaluation.metrics.measure` gave; empty if the truth is not known.
        evaluated: the photos and what was said of them.
        comparison: with another model, if there is one.
        fitting: whether to show the story of the epochs, which belongs to the photos the best one was chosen by.
        about_data: sections about the photos that were trained on, see `trainer.evaluation.data_sections`.
    """
    figures = {
        **(_figures(metrics) if metrics else {}),
        "photos": f"{len(evaluated.uris):,}",
        "unreadable": f"{evaluated.unreadable:,}",
        "classes": f"{len(info.labels):,}",
    }
    pictures = Pictures(info, evaluated)
    least_sure = page.section("Least sure", pictures.gallery(evaluated.least_sure[:PICTURES]))
    inputs = pictures.as_network_input(evaluated.least_sure[:NETWORK_INPUTS])
    backbone = f"{info.training['backbone']}, {info.image.size} pixels, weights {info.training['weights']}"
    subject, tested = evaluated.subject, info.test_metrics if fitting else None
    return page.document(
        "Evaluation",
        f"{subject}; model {info.id}: {backbone}; written {info.created}" if info.id else f"{subject}; {backbone}",
        [
            page.cards(figures),
            *(f"<p>{page.text(sentence)}</p>" for sentence in (verdict.sentences(info) if fitting else ())),
            *([page.section("Test photos", page.cards(_figures(tested)))] if tested else []),
            *([page.section("Compared", _comparison(info, comparison, evaluated, pictures))] if comparison else []),
            *(_against_truth(info, metrics, evaluated, pictures) if metrics else []),
            least_sure,
            *([page.section("Calibration", _calibration(info, metrics))] if metrics else []),
            page.section("Samples", pictures.samples()),
            *([page.section("As the network sees them", _INPUTS, inputs)] if inputs else []),
            page.section("Settings", _settings(info)),
            *about_data,
            *([page.section("Fitting", _history(info))] if fitting else []),
            page.section("Network", _network(info)),
        ],
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
    yield page.section("Classes", _class_table(info, metrics))
    pairs = facts.confused_pairs(metrics)
    if pairs:
        rows = [
            [page.text(pair.truth), page.text(pair.predicted), f"{pair.photos:,}", f"{pair.share:.0%}"]
            for pair in pairs
        ]
        table = page.table(["photos of", "taken for", "photos", "of the class"], rows)
        yield page.section("What it confuses most often", table)
    shown = confusion.confused_classes(evaluated, len(info.labels))
    which = "" if len(shown) == len(info.labels) else f"The {len(shown)} classes with the most errors. "
    yield page.section(
        "Confusion",
        f"<p>{which}Rows are the truth, columns what was predicted. Choose a number to see its photos.</p>",
        confusion.confusion_table(info, evaluated, shown),
        pictures.of_cells(shown),
    )
    yield page.section("Most wrong", pictures.gallery(evaluated.most_wrong[:PICTURES]) or "<p>None is wrong.</p>")


def _class_table(info: ModelInfo, metrics: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    total = max(1, sum(values["support"] for values in metrics["per_class"].values()))
    rows = [
        [
            page.text(one.label),
            percent(one.precision),
            percent(one.recall),
            percent(one.f1),
            f"{one.photos:,}",
            page.bar(one.photos / total),
            percent(info.class_shares.get(one.label)),
            page.bar(info.class_shares.get(one.label, 0.0)),
        ]
        for one in facts.weakest_first(metrics)
    ]
    return "<p>The weakest first.</p>" + page.table(
        ["class", "precision", "recall", "F1", "photos", "", "share in training", ""], rows
    )


def _calibration(info: ModelInfo, metrics: dict[str, Any]) -> str:
    after, before = metrics["calibration_error"], metrics["calibration_error_before"]
    words = (
        f"<p>Calibration error {after:.3f}, {before:.3f} before the temperature of {info.temperature:.2f}. "
        "On the line a score says how often it is right; below it the model is too sure.</p>"
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
    rows = [[page.text(label), f"{n['fixed']:,}", f"{n['broken']:,}"] for label, n in found["per_class"].items()]
    if not rows:
        return page.cards(cards) + "<p>None became right or wrong.</p>"
    was, now = comparison.old == evaluated.truth, evaluated.predicted == evaluated.truth
    galleries = ""
    for title, flipped in (("Broken: right before", was & ~now), ("Fixed: wrong before", now & ~was)):
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
        stages.insert(0, (" of the head alone", head, training["head_best_epoch"]))
    return "".join(
        page.side_by_side((f"{name.capitalize()}{what}", curves(epochs, name, best)) for name in ("accuracy", "loss"))
        for what, epochs, best in stages
    )


def curves(
    epochs: Sequence[dict[str, float]], name: str, best: int | None, bounds: tuple[float, float] | None = None
) -> str:
    """How accuracy or loss went on over the epochs, on the photos that were trained on and on those that validate.

    Args:
        epochs: see `trainer.fitting.loop.Fitted`.
        name: ``accuracy`` or ``loss``.
        best: the best epoch, from one; None if it is not known.
        bounds: see `catalogue.html.charts.curves`.
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
    words = f"{len(rows):,} layers, {total:,} parameters, {fitted:,} of them fitted"
    return page.details(words, page.table(["layer", "kind", "output", "parameters", "fitted"], rows))
