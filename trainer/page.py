"""One self-contained HTML page: the few building blocks that the reports of both packages are made of.

No scripts, no fonts, no files beside it; pictures and charts are inside. Everything that comes from data is escaped.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bar: #2b7fff; --bad: #e5484d; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p.lead { margin: .2rem 0 1.2rem; opacity: .75; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
td.wide { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.card { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; }
.card b { display: block; font-size: 1.35rem; }
.gallery { display: flex; flex-wrap: wrap; gap: .5rem; }
figure { margin: 0; width: 7.5rem; font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere; }
figure img, figure .none { width: 7.5rem; height: 7.5rem; object-fit: contain; background: var(--soft); }
svg { vertical-align: middle; max-width: 100%; height: auto; } svg .bar { fill: var(--bar); }
svg .line { fill: none; stroke: var(--bar); stroke-width: 2; }
svg .other { stroke: var(--bad); } svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
details { margin: .5rem 0; } summary { cursor: pointer; }
"""


def document(title: str, lead: str, body: Iterable[str]) -> str:
    """A whole page; `body` holds HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{text(title)}</h1><p class="lead">{text(lead)}</p>\n' + "\n".join(body) + "\n</body></html>\n"
    )


def text(value: object) -> str:
    """Anything as escaped text."""
    return html.escape(str(value))


def section(title: str, *body: str) -> str:
    """A heading and what belongs below it."""
    return f"<h2>{text(title)}</h2>\n" + "\n".join(body)


def cards(values: dict[str, str]) -> str:
    """Figures to be seen first: what -> how much."""
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{text(v)}</b>{text(k)}</div>' for k, v in values.items())
        + "</div>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, wide: Sequence[int] = ()) -> str:
    """A table; cells hold HTML. The columns numbered in `wide` may be broken into lines."""

    def row(cells: Sequence[str]) -> str:
        return "".join(f'<td class="wide">{c}</td>' if n in wide else f"<td>{c}</td>" for n, c in enumerate(cells))

    heading = "".join(f"<th>{text(cell)}</th>" for cell in head)
    return (
        f'<div class="scroll"><table><tr>{heading}</tr>'
        + "".join(f"<tr>{row(cells)}</tr>" for cells in rows)
        + "</table></div>"
    )


def details(summary: str, *body: str) -> str:
    """A part that opens with a click."""
    return f"<details><summary>{text(summary)}</summary>" + "".join(body) + "</details>"


def jpeg(image: np.ndarray) -> bytes:
    """An image uint8 [h, w, 3] as a small JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def figure(picture: bytes | None, caption: str, hint: str) -> str:
    """A JPEG with a caption (HTML) below and a hint where the mouse rests; None where the picture is not to be had."""
    if picture is None:
        shown = '<div class="none"></div>'
    else:
        data = base64.b64encode(picture).decode()
        shown = f'<img alt="{text(hint)}" src="data:image/jpeg;base64,{data}">'
    return f'<figure title="{text(hint)}">{shown}<figcaption>{caption}</figcaption></figure>'


def gallery(figures: Iterable[str]) -> str:
    """Pictures in rows."""
    return '<div class="gallery">' + "".join(figures) + "</div>"


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
