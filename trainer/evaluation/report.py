"""The evaluation of a model as one HTML page, for people."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from catalogue.html import charts, page
from catalogue.model_dir import ModelInfo
from trainer.evaluation import facts, verdict
from trainer.evaluation.thumbnails import thumbnail

PICTURES = 12
CONFUSED_CLASSES, CELLS, PICTURES_OF_CELL = 40, 60, 6
SAMPLES_OF_CLASS, SAMPLED_CLASSES, UNLABELLED_SAMPLES = 4, 30, 24
SHOWN_LABELS = 3


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What a model said of labelled photos.

    Attributes:
        subject: which photos, for the reader.
        uris: of the N photos.
        truth: int [N]; -1 where it is not known, of all of them or none.
        probabilities: float [N, K].
        unreadable: how many photos more there would have been.
    """

    subject: str
    uris: Sequence[str]
    truth: np.ndarray
    probabilities: np.ndarray
    unreadable: int

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The index of the best label, int [N]."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def most_wrong(self) -> np.ndarray:
        """The rows that are wrong, the surest first."""
        score = self.probabilities.max(axis=1)
        wrong = np.flatnonzero(self.predicted != self.truth)
        return wrong[np.argsort(-score[wrong], kind="stable")]

    @functools.cached_property
    def least_sure(self) -> np.ndarray:
        """All rows, the one with the lowest score first."""
        return np.argsort(self.probabilities.max(axis=1), kind="stable")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What another model said of the same photos.

    Attributes:
        before: its id.
        result: what `trainer.evaluation.metrics.compared` gave.
        old: int [N], the index of its best label; -1 for a label that the model of the page does not know.
    """

    before: str
    result: dict[str, Any]
    old: np.ndarray


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
    pictures = _Pictures(info, evaluated)
    least_sure = page.section("Least sure", pictures.gallery(evaluated.least_sure[:PICTURES]))
    samples = page.section("Samples", pictures.samples())
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
            samples,
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


def _against_truth(
    info: ModelInfo, metrics: dict[str, Any], evaluated: Evaluated, pictures: _Pictures
) -> Iterator[str]:
    yield page.section("Classes", _class_table(info, metrics))
    pairs = facts.confused_pairs(metrics)
    if pairs:
        rows = [
            [page.text(pair.truth), page.text(pair.predicted), f"{pair.photos:,}", f"{pair.share:.0%}"]
            for pair in pairs
        ]
        table = page.table(["photos of", "taken for", "photos", "of the class"], rows)
        yield page.section("What it confuses most often", table)
    shown = _confused_classes(evaluated, len(info.labels))
    which = "" if len(shown) == len(info.labels) else f"The {len(shown)} classes with the most errors. "
    yield page.section(
        "Confusion",
        f"<p>{which}Rows are the truth, columns what was predicted. Choose a number to see its photos.</p>",
        _confusion_table(info, evaluated, shown),
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


def _confused_classes(evaluated: Evaluated, count: int) -> list[int]:
    """The classes that the confusion matrix has room for, in their order: those with the most errors, or photos."""
    wrong = evaluated.predicted != evaluated.truth
    errors = np.bincount(np.concatenate([evaluated.truth[wrong], evaluated.predicted[wrong]]), minlength=count)
    photos = np.bincount(evaluated.truth, minlength=count)
    return sorted(np.lexsort((-photos, -errors))[:CONFUSED_CLASSES].tolist())


def _cells(evaluated: Evaluated, shown: Sequence[int]) -> dict[tuple[int, int], np.ndarray]:
    """(truth, predicted) -> rows, the surest first; cells off the diagonal first, the fullest first."""
    score = evaluated.probabilities.max(axis=1)
    pairs, place = np.unique(np.stack([evaluated.truth, evaluated.predicted]), axis=1, return_inverse=True)
    found = {}
    for number, (truth, predicted) in enumerate(pairs.T.tolist()):
        if truth in shown and predicted in shown:
            rows = np.flatnonzero(place.ravel() == number)
            found[truth, predicted] = rows[np.argsort(-score[rows], kind="stable")]
    return dict(sorted(found.items(), key=lambda item: (item[0][0] == item[0][1], -len(item[1]), item[0])))


def _confusion_table(info: ModelInfo, evaluated: Evaluated, shown: Sequence[int]) -> str:
    cells = _cells(evaluated, shown)
    pictured = set(list(cells)[:CELLS])
    totals = np.bincount(evaluated.truth, minlength=len(info.labels))

    def cell(truth: int, predicted: int) -> str:
        rows = cells.get((truth, predicted))
        if rows is None:
            return "·"
        shade = page.shaded(f"{len(rows):,}", len(rows) / totals[truth], good=truth == predicted)
        return page.link(f"cell-{truth}-{predicted}", shade) if (truth, predicted) in pictured else shade

    rows = [
        [f"<b>{page.text(info.labels[truth])}</b>", *(cell(truth, predicted) for predicted in shown)] for truth in shown
    ]
    return page.table(["", *(info.labels[number] for number in shown)], rows)


def _calibration(info: ModelInfo, metrics: dict[str, Any]) -> str:
    after, before = metrics["calibration_error"], metrics["calibration_error_before"]
    words = (
        f"<p>Calibration error {after:.3f}, {before:.3f} before the temperature of {info.temperature:.2f}. "
        "On the line a score says how often it is right; below it the model is too sure.</p>"
    )
    return words + charts.reliability_diagram(metrics["reliability"])


def _comparison(info: ModelInfo, comparison: Comparison, evaluated: Evaluated, pictures: _Pictures) -> str:
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


class _Pictures:
    """Photos with what was said of them."""

    def __init__(self, info: ModelInfo, evaluated: Evaluated) -> None:
        self._info, self._evaluated = info, evaluated

    def gallery(self, rows: Iterable[int], notes: Mapping[int, str] = MappingProxyType({})) -> str:
        """Photos in rows, some with a note; nothing if there are none."""
        figures = [self._figure(int(row), notes.get(int(row), "")) for row in rows]
        return page.gallery(figures) if figures else ""

    def of_cells(self, shown: Sequence[int]) -> str:
        """The photos behind the cells of the confusion matrix, each shown when its cell is chosen."""
        labels, parts = self._info.labels, []
        for (truth, predicted), rows in list(_cells(self._evaluated, shown).items())[:CELLS]:
            more = f", {PICTURES_OF_CELL} of them" if len(rows) > PICTURES_OF_CELL else ""
            title = f"{len(rows):,} photos of {labels[truth]} taken for {labels[predicted]}{more}"
            gallery = self.gallery(rows[:PICTURES_OF_CELL])
            parts.append(page.target(f"cell-{truth}-{predicted}", title, gallery))
        return "".join(parts)

    def samples(self) -> str:
        """A few photos of each class, spread over all of them."""
        rows = []
        for number in np.unique(self._evaluated.truth)[:SAMPLED_CLASSES].tolist():
            own = np.flatnonzero(self._evaluated.truth == number)
            most = SAMPLES_OF_CLASS if number >= 0 else UNLABELLED_SAMPLES
            rows += own[np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)].tolist()
        return self.gallery(rows)

    def _figure(self, row: int, note: str) -> str:
        labels, truth = self._info.labels, int(self._evaluated.truth[row])
        probabilities, uri = self._evaluated.probabilities[row], self._evaluated.uris[row]
        shown = np.argsort(-probabilities, kind="stable")[:SHOWN_LABELS].tolist()
        shown += [truth] if truth not in (-1, *shown) else []
        bars = [(labels[index], float(probabilities[index]), index == truth) for index in shown]
        return page.figure(thumbnail(uri), page.text(note) + page.score_bars(bars) + page.file_name(uri), uri)
