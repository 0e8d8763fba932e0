"""One self-contained HTML page: the few building blocks that the reports of both packages are made of.

No scripts, no fonts, no files beside it; pictures and charts are inside. Everything that comes from data is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from catalogue.cli.masking import masked
from catalogue.cli.text import visible

_MARKS = "\u061c\u200e\u200f"  # which names in Arabic and Hebrew hold
_FROM_THE_RIGHT = ("R", "AL", "AN")
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bar: #2b7fff; --bad: #e5484d; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p.lead { margin: .2rem 0 1.2rem; opacity: .75; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } pre { font-size: .7rem; line-height: 1.2; }
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
figure.chart { width: 26rem; max-width: 100%; }
.file { margin: 0; opacity: .75; user-select: all; }
a { color: inherit; }
.meter { display: inline-block; width: 6rem; height: .6rem; background: var(--soft); border-radius: .2rem; }
.meter i { display: block; height: 100%; background: var(--bar); border-radius: .2rem; }
.score { display: grid; grid-template-columns: 1fr auto; column-gap: .3rem; }
.score .meter { grid-column: 1 / 3; width: 100%; height: .3rem; }
.good, .bad { display: block; margin: -.25rem -.7rem; padding: .25rem .7rem; }
.good { background: color-mix(in srgb, var(--bar) calc(var(--share) * 60%), transparent); }
.bad { background: color-mix(in srgb, var(--bad) calc(20% + var(--share) * 70%), transparent); }
td a { display: block; text-decoration: underline dotted; }
.target { display: none; } .target:target { display: block; } h3 { font-size: 1rem; margin: 1rem 0 .5rem; }
svg .even { stroke: currentColor; stroke-dasharray: 4; } svg .frame { fill: none; stroke: var(--line); }
svg { vertical-align: middle; max-width: 100%; height: auto; } svg .bar { fill: var(--bar); }
svg .line { fill: none; stroke: var(--bar); stroke-width: 2; }
svg .other { stroke: var(--bad); } svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
.network { display: flex; } .network ol { list-style: none; margin: 0; padding: 0; flex: 1; min-width: 0; }
.network svg { flex: none; max-width: none; }
.network li { box-sizing: border-box; font-size: .8rem; line-height: 1.3; padding: .15rem .4rem; position: relative;
 border-bottom: 1px solid var(--line); display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: .5rem; }
.network li > * { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.network .words { grid-column: 1 / 3; }
.network .share { position: absolute; left: 0; bottom: 0; height: 3px; background: var(--bar); }
.network .kept { opacity: .35; }
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
    """Anything as escaped text, without the credentials of URIs.

    What is written from right to left does not turn what stands beside it, and controls are shown as escapes.
    """
    shown = html.escape(visible(masked(str(value)), keep=_MARKS))
    if any(unicodedata.bidirectional(character) in _FROM_THE_RIGHT for character in shown):
        return f"{_ISOLATE}{shown}{_END_OF_ISOLATE}"
    return shown


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


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, wide: Sequence[int] = ()) -> str:
    """A table; cells hold HTML. The columns numbered in `wide` may be broken into lines."""

    def row(cells: Sequence[str]) -> str:
        return "".join(f'<td class="wide">{c}</td>' if n in wide else f"<td>{c}</td>" for n, c in enumerate(cells))

    heading = "".join(f"<th>{text(cell)}</th>" for cell in header)
    return (
        f'<div class="scroll"><table><tr>{heading}</tr>'
        + "".join(f"<tr>{row(cells)}</tr>" for cells in rows)
        + "</table></div>"
    )


def details(summary: str, *body: str) -> str:
    """A part that opens with a click."""
    return f"<details><summary>{text(summary)}</summary>" + "".join(body) + "</details>"


def preformatted(content: str) -> str:
    """Text whose lines stay as they are."""
    return f'<div class="scroll"><pre>{html.escape(content)}</pre></div>'


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


def file_name(uri: str) -> str:
    """The name of a file, which a click or a touch opens to the whole of its URI."""
    name = uri.rstrip("/").rpartition("/")[2] or uri
    return f'<details class="file"><summary>{text(name)}</summary>{text(uri)}</details>'


def gallery(figures: Iterable[str]) -> str:
    """Pictures in rows."""
    return '<div class="gallery">' + "".join(figures) + "</div>"


def side_by_side(parts: Iterable[tuple[str, str]]) -> str:
    """Charts with their titles, as many beside each other as there is room for."""
    figures = (
        f'<figure class="chart"><figcaption>{text(title)}</figcaption>{chart}</figure>' for title, chart in parts
    )
    return '<div class="gallery">' + "".join(figures) + "</div>"


LAYER_HEIGHT = 44
"""Pixels that each `layer` takes, so that a drawing beside a list of them can point at them."""


def layer(name: str, words: str, figure: str, share: float, *, fitted: bool) -> str:
    """A layer of a network as an item of a list.

    Args:
        name: of the layer.
        words: below it.
        figure: beside it.
        share: the length of the bar, from 0 to 1.
        fitted: whether the bar has its full colour.
    """
    bar_class = "share" if fitted else "share kept"
    return (
        f'<li style="height:{LAYER_HEIGHT}px" title="{text(name)}, {text(words)}"><b>{text(name)}</b>'
        f'<span>{text(figure)}</span><span class="words">{text(words)}</span>'
        f'<i class="{bar_class}" style="width:{share:.1%}"></i></li>'
    )


def bar(share: float) -> str:
    """A share between 0 and 1 as a bar."""
    return f'<span class="meter"><i style="width:{share:.1%}"></i></span>'


def score_bars(scores: Iterable[tuple[str, float, bool]]) -> str:
    """Labels with their scores, the right one in bold."""
    rows = "".join(
        f'<div class="score"><span>{f"<b>{text(label)}</b>" if right else text(label)}</span>'
        f"<span>{score:.0%}</span>{bar(score)}</div>"
        for label, score, right in scores
    )
    return f'<div class="scores">{rows}</div>'


def shaded(content: str, share: float, *, good: bool) -> str:
    """A number on a ground that is the stronger the greater its share."""
    return f'<span class="{"good" if good else "bad"}" style="--share:{share:.2f}">{content}</span>'


def link(name: str, content: str) -> str:
    """A link to a `target` of the page; `content` is HTML."""
    return f'<a href="#{name}">{content}</a>'


def file_link(path: str, content: str) -> str:
    """A link to a file, relative to the page; `content` is HTML."""
    return f'<a href="{text(path)}">{content}</a>'


def target(name: str, title: str, body: str) -> str:
    """A part that is shown when a `link` to it is chosen."""
    return f'<div class="target" id="{name}"><h3>{text(title)}</h3>{body}</div>'
