from __future__ import annotations

from xml.etree import ElementTree

import pytest

from catalogue.html import charts


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(tag))


def test_a_histogram_has_a_bar_for_each_count_that_is_not_zero() -> None:
    bars = elements(charts.histogram([0, 1, 4], "<hint>"), "rect")
    assert [float(bar.attrib["height"]) for bar in bars] == [5.5, 22.0]


def test_curves_go_from_the_lowest_to_the_highest_value() -> None:
    lines = elements(charts.curves({"training": [0.0, 1.0], "validation": [0.5, 0.5]}), "polyline")
    first = [tuple(map(float, point.split(","))) for point in lines[0].attrib["points"].split()]
    assert first == [(40.0, 130.0), (420.0, 10.0)]
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("points", "order"),
    [([("0.5", 1.0), ("0.1", 2.0), ("1e-3", 3.0)], [3.0, 2.0, 1.0]), ([("b", 1.0), ("a", 2.0)], [1.0, 2.0])],
)
def test_dots_stand_in_the_order_of_numbers_or_of_appearance(
    points: list[tuple[str, float]], order: list[float]
) -> None:
    circles = sorted(elements(charts.dots(points), "circle"), key=lambda circle: float(circle.attrib["cx"]))
    titles = ["".join(circle.itertext()) for circle in circles]
    assert [float(title.rpartition(" ")[2]) for title in titles] == order


def test_the_reliability_diagram_leaves_out_empty_bins() -> None:
    bins = [{"count": 0, "score": None, "accuracy": None}, {"count": 4, "score": 0.75, "accuracy": 0.5}]
    (bar,) = (rect for rect in elements(charts.reliability_diagram(bins), "rect") if rect.attrib["class"] == "bar")
    assert float(bar.attrib["height"]) == 130.0
