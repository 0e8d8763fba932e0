from __future__ import annotations

import dataclasses
import html.parser
from pathlib import Path

import numpy as np
import pytest

from catalogue import model_dir
from catalogue.html import charts, page
from trainer.evaluation.evaluated import Evaluated
from trainer.evaluation.metrics import measure
from trainer.evaluation.report import evaluation_page

EMPTY = ("meta", "img", "br", "rect", "polyline", "line")


class Checker(html.parser.HTMLParser):
    """Parser that collects the resources and links of a page, and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: set[str] = set()
        self.targets: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attributes if name == "src"]
        self.links |= {value or "" for name, value in attributes if name == "href"}
        self.targets |= {f"#{value}" for name, value in attributes if name == "id"}
        self.scripts += tag == "script"
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in EMPTY or self.open.pop() == tag


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert not checker.scripts
    assert all(source.startswith("data:image/jpeg;base64,") for source in checker.sources)
    assert checker.links == checker.targets
    return checker


def test_the_page_of_a_model_is_self_contained(tiny_model: Path) -> None:
    text = (tiny_model / "report.html").read_text()
    assert len(checked(text).sources) >= 4
    for words in (
        "95 % interval", "Confusion matrix", "Least certain", "Calibration", "Samples", "best: 4", "dress",
        "share in training", "layers, ", "MaxPooling2D",
    ):  # fmt: skip
        assert words in text


def test_it_shows_the_most_wrong_first_and_does_without_a_photo_that_is_gone(tiny_model: Path, drawn: Path) -> None:
    info = model_dir.read(tiny_model).info
    paths = [str(drawn / "hat/00.jpg"), str(drawn / "<gone> & away.jpg"), str(drawn / "shoes/00.jpg")]
    truth = np.array([1, 1, 2])
    probabilities = np.array([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.1, 0.1, 0.8]])
    found = measure(truth, probabilities, info.labels)
    text = evaluation_page(info, found, Evaluated("some photos", paths, truth, probabilities, unreadable=2))
    checked(text)
    assert f"some photos · model {info.id}" in text
    assert "best: " not in text
    wrong = text.split("<h2>Most confident errors")[1].split("<h2>Least certain")[0]
    assert wrong.index("90%") < wrong.index("60%")
    assert wrong.count("<figure") == 2
    assert "&lt;gone&gt; &amp; away.jpg" in wrong
    assert "<gone>" not in text


def test_it_shows_the_pixels_of_every_view(tiny_model: Path, drawn: Path) -> None:
    info = model_dir.read(tiny_model).info
    info = dataclasses.replace(info, image=dataclasses.replace(info.image, resize="crop,pad"))
    paths = [str(drawn / "hat/00.jpg"), str(drawn / "gone.jpg")]
    evaluated = Evaluated("photos", paths, np.full(2, -1), np.array([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0]]), unreadable=0)
    section = evaluation_page(info, {}, evaluated).split("<h2>As the network sees them")[1].split("<h2>")[0]
    assert section.count("<figure") == 3  # the photo and its two views; no figure for the missing photo
    assert section.index("view: crop") < section.index("view: pad")


def test_photos_without_a_truth_are_shown_with_what_was_said(tiny_model: Path, drawn: Path) -> None:
    info = model_dir.read(tiny_model).info
    paths = [str(path) for path in sorted((drawn / "hat").iterdir())]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), len(paths))
    text = evaluation_page(info, {}, Evaluated("photos", paths, np.full(len(paths), -1), probabilities, unreadable=0))
    checked(text)
    before = text.split("<h2>As the network sees them")[0]
    assert before.count("<figure") == 2 * len(paths)
    for words in ("Confusion", "accuracy", "Most confident errors", "Calibration error"):
        assert words not in text
    assert "<h2>Least certain" in text


def test_many_classes_are_reduced_to_those_with_errors(tiny_model: Path) -> None:
    """A matrix of 3,000 classes would have nine million cells."""
    count = 3000
    info = dataclasses.replace(model_dir.read(tiny_model).info, labels=tuple(f"c{n:04}" for n in range(count)))
    truth = np.arange(count)
    probabilities = np.eye(count)
    probabilities[7, [7, 2999]] = 0.1, 0.9
    found = measure(truth, probabilities, info.labels)
    text = evaluation_page(info, found, Evaluated("many", ["gone.jpg"] * count, truth, probabilities, unreadable=0))
    checked(text)
    assert "The 40 classes with the most errors" in text
    assert 'href="#cell-7-2999"' in text
    assert len(text) < 3_000_000


def test_text_from_data_cannot_become_markup() -> None:
    title = "<script>alert(1)</script>"
    text = page.document(title, title, [page.section(title, page.table([title], [[page.text(title)]]))])
    checked(text)
    assert "<script" not in text


@pytest.mark.parametrize("counts", [[], [0, 0], [0, 3, 1]])
def test_a_histogram_of_anything(counts: list[int]) -> None:
    assert charts.histogram(counts, "hint").count("<rect") == sum(count > 0 for count in counts)


def test_curves_of_one_epoch() -> None:
    assert "nan" not in charts.curves({"training": [0.5], "validation": [0.5]})
