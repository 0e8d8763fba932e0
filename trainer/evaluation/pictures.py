"""Photos of a report, with the labels and scores that a model gave them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from catalogue.cli.text import counted
from catalogue.html import page
from catalogue.model_dir import ModelInfo
from trainer.evaluation import confusion
from trainer.evaluation.evaluated import Evaluated
from trainer.evaluation.thumbnails import as_network_input, thumbnail

PICTURES_OF_CELL = 6
SAMPLES_OF_CLASS, SAMPLED_CLASSES, UNLABELED_SAMPLES = 4, 30, 24
SHOWN_LABELS = 3


class Pictures:
    """Draws galleries of evaluated photos."""

    def __init__(self, info: ModelInfo, evaluated: Evaluated) -> None:
        self._info, self._evaluated = info, evaluated

    def gallery(self, rows: Iterable[int], notes: Mapping[int, str] = MappingProxyType({})) -> str:
        """Return a gallery of some rows, with optional notes; empty for no rows."""
        figures = [self._figure(int(row), notes.get(int(row), "")) for row in rows]
        return page.gallery(figures) if figures else ""

    def of_cells(self, shown: Sequence[int]) -> str:
        """Return a gallery for each linked cell of the confusion matrix, hidden until the cell is clicked."""
        labels, parts = self._info.labels, []
        for (truth, predicted), rows in list(confusion.cells(self._evaluated, shown).items())[
            : confusion.MOST_PICTURED_CELLS
        ]:
            more = f", {PICTURES_OF_CELL} of them shown" if len(rows) > PICTURES_OF_CELL else ""
            title = f"{counted(len(rows), 'photo')} of {labels[truth]} predicted as {labels[predicted]}{more}"
            gallery = self.gallery(rows[:PICTURES_OF_CELL])
            parts.append(page.target(confusion.cell_name(truth, predicted), title, gallery))
        return "".join(parts)

    def as_network_input(self, rows: Iterable[int]) -> str:
        """Return photos beside the network's input, one picture per view."""
        figures = []
        for row in map(int, rows):
            uri, spec = self._evaluated.uris[row], self._info.image
            views = as_network_input(uri, spec)
            if views:
                figures.append(page.figure(thumbnail(uri), page.file_name(uri), uri))
                figures += [
                    page.figure(view, f"view: {name}", uri) for name, view in zip(spec.views, views, strict=True)
                ]
        return page.gallery(figures) if figures else ""

    def samples(self) -> str:
        """Return HTML with a few photos of each class, evenly spaced, for at most `SAMPLED_CLASSES` classes."""
        parts = []
        for number in self._sampled.tolist():
            own = np.flatnonzero(self._evaluated.truth == number)
            most = SAMPLES_OF_CLASS if number >= 0 else UNLABELED_SAMPLES
            gallery = self.gallery(own[np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)])
            parts.append(page.anchor(f"class-{number}", self._info.labels[number], gallery) if number >= 0 else gallery)
        return "".join(parts)

    def class_link(self, label: str) -> str:
        """Return the name of a class as HTML, with a link to its photos in `samples` if it has some there."""
        number = self._info.labels.index(label)
        return page.link(f"class-{number}", page.text(label)) if number in self._sampled else page.text(label)

    @property
    def _sampled(self) -> np.ndarray:
        """Indices of the classes in `samples`, int; -1 for unlabeled photos."""
        return np.unique(self._evaluated.truth)[:SAMPLED_CLASSES]

    def _figure(self, row: int, note: str) -> str:
        labels, truth = self._info.labels, int(self._evaluated.truth[row])
        probabilities, uri = self._evaluated.probabilities[row], self._evaluated.uris[row]
        shown = np.argsort(-probabilities, kind="stable")[:SHOWN_LABELS].tolist()
        shown += [truth] if truth not in (-1, *shown) else []
        bars = [(labels[index], float(probabilities[index]), index == truth) for index in shown]
        return page.figure(thumbnail(uri), page.text(note) + page.score_bars(bars) + page.file_name(uri), uri)
