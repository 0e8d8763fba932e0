"""Charts as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalogue.html.page import text


def reliability_diagram(bins: Sequence[dict[str, Any]]) -> str:
    """Accuracy over score: a bar for each bin that has photos, and the line on which both are equal."""
    side, left = 260, 34
    width = side / len(bins)
    bars = "".join(
        f'<rect class="bar" x="{left + width * n + 1:.1f}" y="{side * (1 - b["accuracy"]):.1f}" '
        f'width="{width - 2:.1f}" height="{side * b["accuracy"]:.1f}"><title>score {b["score"]:.2f}: right in '
        f"{b['accuracy']:.1%} of {b['count']:,} photos</title></rect>"
        for n, b in enumerate(bins)
        if b["count"]
    )
    line = f'<line class="even" x1="{left}" y1="{side}" x2="{left + side}" y2="0"/>'
    marks = f'<text x="0" y="12">100 %</text><text x="18" y="{side}">0</text>'
    marks += f'<text x="{left}" y="{side + 16}">score 0</text><text x="{left + side - 38}" y="{side + 16}">100 %</text>'
    frame = f'<rect class="frame" x="{left}" y="0" width="{side}" height="{side}"/>'
    size = f'viewBox="0 0 {left + side + 2} {side + 22}" width="{left + side + 2}"'
    return f'<svg role="img" {size}>{frame}{bars}{line}{marks}</svg>'


def dots(points: Sequence[tuple[str, float]]) -> str:
    """Values over what was chosen: numbers in their order, anything else in that of its first appearance."""
    try:
        chosen = sorted({name for name, _ in points}, key=float)
    except ValueError:
        chosen = list(dict.fromkeys(name for name, _ in points))
    if not points:
        return "<p>Nothing to show.</p>"
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


def _short(name: str) -> str:
    """A number with four digits, the beginning of anything else that is long."""
    try:
        return f"{float(name):.4g}" if len(name) > 6 else name
    except ValueError:
        return name[:10]


def histogram(counts: Sequence[int], hint: str) -> str:
    """A small bar chart of counts from left to right."""
    top, width = max(counts, default=0) or 1, 5
    heights = [22 * count / top for count in counts]
    bars = "".join(
        f'<rect class="bar" x="{width * n}" y="{24 - height:.1f}" width="{width - 1}" height="{height:.1f}"/>'
        for n, height in enumerate(heights)
        if height
    )
    size = width * len(counts)
    return f'<svg role="img" width="{size}" height="24"><title>{text(hint)}</title>{bars}</svg>'


def curves(series: dict[str, Sequence[float]]) -> str:
    """One or two lines over the epochs, in one chart with its own scale."""
    width, height, left = 420, 150, 40
    values = [value for line in series.values() for value in line]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def points(line: Sequence[float]) -> str:
        step = (width - left) / max(len(line) - 1, 1)
        return " ".join(
            f"{left + step * n:.1f},{height - 20 - (height - 30) * (v - low) / span:.1f}" for n, v in enumerate(line)
        )

    lines = "".join(
        f'<polyline class="line{" other" if n else ""}" points="{points(line)}"/>'
        for n, line in enumerate(series.values())
    )
    names = " (blue), ".join(series) + (" (red)" if len(series) > 1 else "")
    labels = f'<text x="0" y="14">{high:.3f}</text><text x="0" y="{height - 20}">{low:.3f}</text>'
    caption = f'<text x="{left}" y="{height - 3}">{text(names)}, by epoch</text>'
    return f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}">{lines}{labels}{caption}</svg>'
