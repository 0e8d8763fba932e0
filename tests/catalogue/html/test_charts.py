from __future__ import annotations

from xml.etree import ElementTree

import pytest

from catalogue.html import charts


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(tag))


def test_a_histogram_has_a_bar_for_each_count_that_is_not_zero() -> None:
    bars = elements(charts.histogram([0, 1, 4], "<hint>"), "rect")
    assert [float(bar.attrib["height"]) for bar in bars] == [5.5, 22.0]


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]


def test_curves_go_from_the_lowest_to_the_highest_value() -> None:
    svg = charts.curves({"training": [0.0, 1.0], "validation": [0.5, 0.5]}, best=2)
    frame = elements(svg, "rect")[0].attrib
    left, top, width, height = (float(frame[name]) for name in ("x", "y", "width", "height"))
    lines = elements(svg, "polyline")
    assert points(lines[0]) == [(left, top + height), (left + width, top)]
    assert [y for _, y in points(lines[1])] == [top + height / 2] * 2
    (best,) = elements(svg, "circle")
    assert (float(best.attrib["cx"]), float(best.attrib["cy"])) == points(lines[1])[1]
    assert {"0", "0.4", "1", "2"} <= {mark.text for mark in elements(svg, "text")}


def test_charts_with_the_same_bounds_have_the_same_scale() -> None:
    one, other = (
        points(elements(charts.curves({"loss": values}, bounds=(0.0, 4.0)), "polyline")[0])
        for values in ([1.0, 2.0], [2.0, 4.0])
    )
    assert one[1][1] == other[0][1]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.871, 0.934, [0.88, 0.9, 0.92]),
        (3.0, 79.0, [20.0, 40.0, 60.0]),
        (-0.5, 0.5, [-0.4, -0.2, 0.0, 0.2, 0.4]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == expected


@pytest.mark.parametrize(
    ("points", "order"),
    [
        ([("0.5", 1.0), ("0.1", 2.0), ("1e-3", 3.0)], [3.0, 2.0, 1.0]),
        ([("b", 1.0), ("a", 2.0)], [1.0, 2.0]),
        ([("0.5", 1.0), ("0.1", 2.0), ("none", 3.0)], [3.0, 2.0, 1.0]),
    ],
)
def test_dots_draws_words_in_order_of_appearance_then_numbers_in_ascending_order(
    points: list[tuple[str, float]], order: list[float]
) -> None:
    circles = sorted(elements(charts.dots(points), "circle"), key=lambda circle: float(circle.attrib["cx"]))
    titles = ["".join(circle.itertext()) for circle in circles]
    assert [float(title.rpartition(" ")[2]) for title in titles] == order


def test_the_reliability_diagram_has_the_accuracy_and_count_of_each_bin_that_is_not_empty() -> None:
    bins = [
        {"count": 0, "score": None, "accuracy": None},
        {"count": 4, "score": 0.5, "accuracy": 0.5},
        {"count": 8, "score": 0.9, "accuracy": 1.0},
    ]
    bars = [rect for rect in elements(charts.reliability_diagram(bins), "rect") if rect.attrib["class"] == "bar"]
    assert [float(bar.attrib["height"]) for bar in bars] == [130.0, 20.0, 260.0, 40.0]
    assert ["".join(bar.itertext()) for bar in bars[:2]] == [
        "score 0.50: right in 50.0% of 4 photos", "score 0.50: 4 photos",
    ]  # fmt: skip
