"""Report sections on the split: the number of photos of each class, and sample photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from catalogue.html import page
from trainer.data.examples import Example
from trainer.evaluation.thumbnails import thumbnail

SHOWN_PHOTOS = 24


def counts(sides: Mapping[str, Sequence[Example]], labels: Sequence[str]) -> str:
    """Return a table of the classes with the number of photos in each split, also as bars.

    Args:
        sides: name of the split -> photos.
        labels: class names.
    """
    by_label = {name: Counter(example.label for example in examples) for name, examples in sides.items()}
    most = {name: max(found.values(), default=0) or 1 for name, found in by_label.items()}
    rows = [[page.text(label), *_cells(label, by_label, most)] for label in labels]
    total = [part for examples in sides.values() for part in (f"<b>{len(examples):,}</b>", "")]
    header = ["class", *(part for name in sides for part in (name, ""))]
    return page.section("Photos of each class", page.table(header, [*rows, ["<b>all</b>", *total]]))


def _cells(label: str, by_label: Mapping[str, Counter[str]], most: Mapping[str, int]) -> list[str]:
    return [
        part for name, found in by_label.items() for part in (f"{found[label]:,}", page.bar(found[label] / most[name]))
    ]


def photos(sides: Mapping[str, Sequence[Example]]) -> list[str]:
    """Return a section for each non-empty split, with some of its labeled photos."""
    return [
        page.section(f"Some {name} photos", page.gallery(map(_figure, spread(examples, SHOWN_PHOTOS))))
        for name, examples in sides.items()
        if examples
    ]


def _figure(example: Example) -> str:
    return page.figure(thumbnail(example.uri), page.text(example.label) + page.file_name(example.uri), example.uri)


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """Sample photos deterministically: balanced over the classes, and evenly spaced within each class.

    Args:
        examples: labeled photos.
        count: maximum number of photos.
    """
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        rows.setdefault(example.label, []).append(row)
    order = [
        (place, number, row)
        for number, own in enumerate(rows.values())
        for place, row in enumerate(_from_all_over(own, count))
    ]
    return [examples[row] for _, _, row in sorted(sorted(order)[:count], key=lambda item: item[1])]


def _from_all_over(rows: Sequence[int], count: int) -> list[int]:
    return [rows[n] for n in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
