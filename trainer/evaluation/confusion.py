"""The confusion matrix of a report: its cells, and the table that links them to their photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalogue.html import page
from catalogue.model_dir import ModelInfo
from trainer.evaluation.evaluated import Evaluated

MOST_CLASSES, MOST_PICTURED_CELLS = 40, 60


def confused_classes(evaluated: Evaluated, count: int) -> list[int]:
    """Return the indices, ascending, of the classes to show: those with the most errors, ties by number of photos."""
    wrong = evaluated.predicted != evaluated.truth
    errors = np.bincount(np.concatenate([evaluated.truth[wrong], evaluated.predicted[wrong]]), minlength=count)
    photos = np.bincount(evaluated.truth, minlength=count)
    return sorted(np.lexsort((-photos, -errors))[:MOST_CLASSES].tolist())


def cells(evaluated: Evaluated, shown: Sequence[int]) -> dict[tuple[int, int], np.ndarray]:
    """Map each cell, (truth, predicted), to its row numbers, highest score first.

    Cells of errors come first, then cells of correct predictions, each sorted by the number of photos, largest first.
    """
    score = evaluated.probabilities.max(axis=1)
    pairs, place = np.unique(np.stack([evaluated.truth, evaluated.predicted]), axis=1, return_inverse=True)
    found = {}
    for number, (truth, predicted) in enumerate(pairs.T.tolist()):
        if truth in shown and predicted in shown:
            rows = np.flatnonzero(place.ravel() == number)
            found[truth, predicted] = rows[np.argsort(-score[rows], kind="stable")]
    return dict(sorted(found.items(), key=lambda item: (item[0][0] == item[0][1], -len(item[1]), item[0])))


def cell_name(truth: int, predicted: int) -> str:
    """Return the anchor of a cell's photos."""
    return f"cell-{truth}-{predicted}"


def confusion_table(info: ModelInfo, evaluated: Evaluated, shown: Sequence[int]) -> str:
    """Return the matrix as an HTML table; the first `MOST_PICTURED_CELLS` cells link to their photos."""
    rows_of = cells(evaluated, shown)
    pictured = set(list(rows_of)[:MOST_PICTURED_CELLS])
    totals = np.bincount(evaluated.truth, minlength=len(info.labels))

    def cell(truth: int, predicted: int) -> str:
        rows = rows_of.get((truth, predicted))
        if rows is None:
            return "·"
        shade = page.shaded(f"{len(rows):,}", len(rows) / totals[truth], good=truth == predicted)
        return page.link(cell_name(truth, predicted), shade) if (truth, predicted) in pictured else shade

    rows = [
        [f"<b>{page.text(info.labels[truth])}</b>", *(cell(truth, predicted) for predicted in shown)] for truth in shown
    ]
    return page.table(["", *(info.labels[number] for number in shown)], rows)
