"""Charts as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from catalogue.cli.text import counted
from catalogue.html.page import text


def reliability_diagram(bins: Sequence[dict[str, Any]]) -> str:
    """Draw accuracy by score: a bar for each non-empty bin, the line of perfect calibration, and the photos per bin."""
    side, left, below, most = 260, 34, 64, max(b["count"] for b in bins)
    width, bottom = side / len(bins), side + below

    def bar(n: int, height: float, base: int, hint: str) -> str:
        place = f'x="{left + width * n + 1:.1f}" y="{base - height:.1f}" width="{width - 2:.1f}" height="{height:.1f}"'
        return f'<rect class="bar" {place}><title>{hint}</title></rect>'

    marks = ""
    for n, b in enumerate(bins):
        if b["count"]:
            photos = counted(b["count"], "photo")
            marks += bar(
                n, side * b["accuracy"], side, f"score {b['score']:.2f}: right in {b['accuracy']:.1%} of {photos}"
            )
            marks += bar(n, (below - 24) * b["count"] / most, bottom, f"score {b['score']:.2f}: {photos}")
    marks += f'<line class="even" x1="{left}" y1="{side}" x2="{left + side}" y2="0"/>'
    marks += f'<text x="0" y="12">100 %</text><text x="18" y="{side}">0</text>'
    marks += f'<text x="{left}" y="{side + 16}">score 0</text><text x="{left + side - 38}" y="{side + 16}">100 %</text>'
    marks += f'<text x="{left}" y="{bottom + 16}">photos by score; most in a bar: {most:,}</text>'
    frame = f'<rect class="frame" x="{left}" y="0" width="{side}" height="{side}"/>'
    size = f'viewBox="0 0 {left + side + 2} {bottom + 22}" width="{left + side + 2}"'
    return f'<svg role="img" {size}>{frame}{marks}</svg>'


def dots(points: Sequence[tuple[str, float]]) -> str:
    """Draw a dot for each value, by setting.

    Args:
        points: setting and value of each dot. Settings that are words come first, in order of first appearance, then
            numbers in ascending order.
    """
    if not points:
        return "<p>No data.</p>"
    chosen = sorted(dict.fromkeys(name for name, _ in points), key=_words_first)
    width, height, left = 420, 170, 44
    low, high = min(value for _, value in points), max(value for _, value in points)
    span, step = (high - low) or 1.0, (width - left) / len(chosen)
    marks = ""
    for name, value in points:
        x, y = left + step * (chosen.index(name) + 0.5), height - 34 - (height - 50) * (value - low) / span
        marks += (
            f'<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{text(name)}: {value:.4f}</title></circle>'
        )
    every = -(-len(chosen) // 8)
    for n in range(0, len(chosen), every):
        place = f'x="{left + step * (n + 0.5):.1f}" y="{height - 8}"'
        marks += f'<text {place} text-anchor="middle">{text(_short(chosen[n]))}</text>'
    scale = f'<text x="0" y="16">{high:.3f}</text><text x="0" y="{height - 30}">{low:.3f}</text>'
    return f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}">{marks}{scale}</svg>'


def _words_first(name: str) -> tuple[bool, float]:
    try:
        return True, float(name)
    except ValueError:
        return False, 0.0


def _short(name: str) -> str:
    """Shorten a number of more than six characters to four significant digits, and other text to ten characters."""
    try:
        return f"{float(name):.4g}" if len(name) > 6 else name
    except ValueError:
        return name[:10]


def histogram(counts: Sequence[int], hint: str) -> str:
    """Draw a small bar chart of counts, with a tooltip."""
    top, width = max(counts, default=0) or 1, 5
    heights = [22 * count / top for count in counts]
    bars = "".join(
        f'<rect class="bar" x="{width * n}" y="{24 - height:.1f}" width="{width - 1}" height="{height:.1f}"/>'
        for n, height in enumerate(heights)
        if height
    )
    size = width * len(counts)
    return f'<svg role="img" width="{size}" height="24"><title>{text(hint)}</title>{bars}</svg>'


def curves(
    series: Mapping[str, Sequence[float]], *, best: int | None = None, bounds: tuple[float, float] | None = None
) -> str:
    """Draw one or two lines over the epochs.

    Args:
        series: name -> a value per epoch; all of the same length.
        best: number of the epoch to mark, from one; None for none.
        bounds: limits of the y axis, so that several charts share a scale; None for the range of the values.
    """
    width, height, left, bottom, top = 420, 180, 44, 34, 10
    values = [value for line in series.values() for value in line]
    low, high = bounds or (min(values), max(values))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    count = max(map(len, series.values()))

    def x(epoch: float) -> float:
        return left + (width - left - 10) * (epoch - 1) / max(count - 1, 1)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return height - bottom - (height - bottom - top) * share

    marks = [f'<rect class="frame" x="{left}" y="{top}" width="{width - left - 10}" height="{height - bottom - top}"/>']
    for tick in ticks(low, high):
        marks.append(f'<line class="frame" x1="{left}" x2="{width - 10}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        marks.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    step = next((own for own in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count / own <= 10), count)
    marks += [
        f'<text x="{x(epoch):.1f}" y="{height - bottom + 14}" text-anchor="middle">{epoch}</text>'
        for epoch in sorted({1, *range(step, count + 1, step)})
    ]
    if best:
        hint = f"<title>best epoch: {best}</title>"
        marks.append(
            f'<line class="even best" x1="{x(best):.1f}" x2="{x(best):.1f}" y1="{top}" y2="{height - bottom}"/>'
        )
        marks.append(f'<circle class="bar" cx="{x(best):.1f}" cy="{y(list(series.values())[-1][best - 1]):.1f}" r="4">'
                     f"{hint}</circle>")  # fmt: skip
    for number, line in enumerate(series.values()):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in enumerate(line, 1))
        marks.append(f'<polyline class="line{" other" if number else ""}" points="{points}"/>')
        if len(line) == 1:
            marks.append(f'<circle class="bar" cx="{x(1):.1f}" cy="{y(line[0]):.1f}" r="3"/>')
    names = " (blue), ".join(series) + (" (red)" if len(series) > 1 else "")
    words = f"{names}, by epoch" + (f"; best: {best}" if best else "")
    marks.append(f'<text x="{left}" y="{height - 4}">{text(words)}</text>')
    return f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}">{"".join(marks)}</svg>'


def ticks(low: float, high: float) -> list[float]:
    """Return two to six round numbers for the ticks of an axis.

    Args:
        low, high: limits of the axis, low < high.
    """
    size = 10.0 ** math.floor(math.log10(high - low))
    step = next(own for own in (size / 5, size / 2, size, 2 * size) if (high - low) / own <= 5)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
