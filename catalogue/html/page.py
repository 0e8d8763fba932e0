"""Building blocks of the HTML reports.

A page is one self-contained file without scripts or fonts; pictures and charts are embedded. All text from data is
escaped.
"""

from __future__ import annotations

import base64
import html
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from catalogue.cli.masking import masked
from catalogue.cli.text import visible

_MARKS = "\u061c\u200e\u200f"  # direction marks, common in Arabic and Hebrew names
_FROM_THE_RIGHT = ("R", "AL", "AN")
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #fff; --quiet: #5b6470; --line: #8884; --soft: #8881;
 --bar: #2b7fff; --bad: #e5484d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --ground: #14171b; --quiet: #9aa4b1; } }
html { scroll-behavior: smooth; scroll-padding-top: 3.2rem; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; color: var(--ink); background: var(--ground); }
header { padding: 1.4rem 1.5rem 1rem; border-bottom: 1px solid var(--line); }
header .kind { margin: 0; color: var(--quiet); font-size: .8rem; letter-spacing: .04em; text-transform: uppercase; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .15rem 0; overflow-wrap: anywhere; }
p.lead { margin: 0; color: var(--quiet); overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 1; background: var(--ground); border-bottom: 1px solid var(--line);
 display: flex; overflow-x: auto; scrollbar-width: none; white-space: nowrap; padding: 0 1rem; font-size: .85rem; }
nav a { padding: .6rem .5rem; color: var(--quiet); text-decoration: none; } nav a:hover { color: var(--ink); }
main { padding: 1rem 1.5rem 3rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; } h3 { font-size: 1rem; margin: 1rem 0 .5rem; }
section:first-child h2 { margin-top: .5rem; } p { max-width: 52rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } pre { font-size: .7rem; line-height: 1.2; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, th.wide { text-align: left; } th { font-weight: 600; }
td.wide { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: .8rem 0; }
.card { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; }
.card b { display: block; font-size: 1.35rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.6rem, 1fr)); gap: .6rem; }
figure { margin: 0; font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere; max-width: 11rem; }
figure img, figure .none { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--soft); }
figure .none { border-radius: .3rem; } figure img { border-radius: .3rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
figure.chart { max-width: 30rem; }
.file { margin: 0; color: var(--quiet); user-select: all; }
a { color: inherit; }
.meter { display: inline-block; width: 6rem; height: .6rem; background: var(--soft); border-radius: .2rem; }
.meter i { display: block; height: 100%; background: var(--bar); border-radius: .2rem; }
.score { display: grid; grid-template-columns: 1fr auto; column-gap: .3rem; }
.score .meter { grid-column: 1 / 3; width: 100%; height: .3rem; }
.good, .bad { display: block; margin: -.25rem -.7rem; padding: .25rem .7rem; }
.good { background: color-mix(in srgb, var(--bar) calc(var(--share) * 60%), transparent); }
.bad { background: color-mix(in srgb, var(--bad) calc(20% + var(--share) * 70%), transparent); }
td a { display: block; text-decoration: underline dotted; }
.target { display: none; } .target:target { display: block; }
svg .even { stroke: currentColor; stroke-dasharray: 4; } svg .frame { fill: none; stroke: var(--line); }
svg { vertical-align: middle; max-width: 100%; height: auto; } svg .bar { fill: var(--bar); }
svg .line { fill: none; stroke: var(--bar); stroke-width: 2; }
svg .other { stroke: var(--bad); } svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
.network { display: flex; max-width: 60rem; }
.network ol { list-style: none; margin: 0; padding: 0; flex: 1; min-width: 0; }
.network svg { flex: none; max-width: none; }
.network li { box-sizing: border-box; font-size: .8rem; line-height: 1.3; padding: .15rem .4rem; position: relative;
 border-bottom: 1px solid var(--line); display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: .5rem; }
.network li > * { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.network .words { grid-column: 1 / 3; }
.network .share { position: absolute; left: 0; bottom: 0; height: 3px; background: var(--bar); }
.network .kept { opacity: .35; }
details { margin: .5rem 0; } summary { cursor: pointer; }
@media (min-width: 50rem) {
 nav { flex-wrap: wrap; } nav a { padding: .35rem .5rem; } html { scroll-padding-top: 5rem; } }
@media print { nav { display: none; } figure, tr, .card { break-inside: avoid; } }
"""


def document(kind: str, lead: str, body: Iterable[str], *, headline: str = "", parent: str = "") -> str:
    """Return a complete page: a headline, a list of its sections that stays in view, and the sections.

    Args:
        kind: kind of page, such as ``Model report``.
        lead: one line about the subject of the page.
        body: HTML; each `section` is listed.
        headline: main finding of the page; `kind` if empty.
        parent: HTML, a link to the page that lists this page.
    """
    found: dict[str, str] = {}  # anchor -> title, already escaped

    def with_anchor(match: re.Match[str]) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", match[1].lower()).strip("-") or "section"
        anchor = name if name not in found else f"{name}-{len(found)}"
        found[anchor] = match[1]
        return f'<section id="{anchor}"><h2>{match[1]}</h2>'

    sections = re.sub(r"<section><h2>(.*?)</h2>", with_anchor, "\n".join(body))
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in found.items())
    above = " / ".join([*([parent] if parent else []), *([text(kind)] if headline else [])])
    above = f'<p class="kind">{above}</p>' if above else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(headline or kind)}</title><style>{_STYLE}</style></head><body>\n"
        f'<header>{above}<h1>{text(headline or kind)}</h1><p class="lead">{text(lead)}</p></header>\n'
        f"<nav>{links}</nav>\n<main>\n{sections}\n</main></body></html>\n"
    )


def text(value: object) -> str:
    """Return any value as escaped text, with the credentials of URIs masked.

    Right-to-left text is isolated from the surrounding text, and control characters are shown as escapes.
    """
    shown = html.escape(visible(masked(str(value)), keep=_MARKS))
    if any(unicodedata.bidirectional(character) in _FROM_THE_RIGHT for character in shown):
        return f"{_ISOLATE}{shown}{_END_OF_ISOLATE}"
    return shown


def moment(iso: str) -> str:
    """Format a UTC time, given in ISO 8601, for readers: without seconds."""
    return f"{iso[:16].replace('T', ' ')} UTC"


def section(title: str, *body: str) -> str:
    """Return a section with a heading; `document` lists it. `body` is HTML."""
    return f"<section><h2>{text(title)}</h2>\n" + "\n".join(body) + "</section>"


def cards(values: dict[str, str]) -> str:
    """Return key figures as cards.

    Args:
        values: name -> value.
    """
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{text(v)}</b>{text(k)}</div>' for k, v in values.items())
        + "</div>"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, wide: Sequence[int] = ()) -> str:
    """Return a table. `header` is text, `rows` are HTML; only the columns in `wide`, counted from zero, wrap."""

    def row(cells: Sequence[str]) -> str:
        return "".join(f'<td class="wide">{c}</td>' if n in wide else f"<td>{c}</td>" for n, c in enumerate(cells))

    heading = "".join(
        f'<th class="wide">{text(cell)}</th>' if n in wide else f"<th>{text(cell)}</th>"
        for n, cell in enumerate(header)
    )
    return (
        f'<div class="scroll"><table><tr>{heading}</tr>'
        + "".join(f"<tr>{row(cells)}</tr>" for cells in rows)
        + "</table></div>"
    )


def details(summary: str, *body: str) -> str:
    """Return a part of a page that is collapsed until its summary is clicked. `body` is HTML."""
    return f"<details><summary>{text(summary)}</summary>" + "".join(body) + "</details>"


def preformatted(content: str) -> str:
    """Return text with its line breaks and spaces preserved."""
    return f'<div class="scroll"><pre>{html.escape(content)}</pre></div>'


def jpeg(image: np.ndarray) -> bytes:
    """Encode an image, uint8 [h, w, 3], as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def figure(picture: bytes | None, caption: str, hint: str) -> str:
    """Return a picture with a caption.

    Args:
        picture: JPEG; None for an empty box.
        caption: HTML below the picture.
        hint: alternative text and tooltip.
    """
    if picture is None:
        shown = '<div class="none"></div>'
    else:
        data = base64.b64encode(picture).decode()
        shown = f'<img alt="{text(hint)}" src="data:image/jpeg;base64,{data}">'
    return f'<figure title="{text(hint)}">{shown}<figcaption>{caption}</figcaption></figure>'


def file_name(uri: str) -> str:
    """Return the name of a file; a click or touch shows its whole URI."""
    name = uri.rstrip("/").rpartition("/")[2] or uri
    return f'<details class="file"><summary>{text(name)}</summary>{text(uri)}</details>'


def gallery(figures: Iterable[str]) -> str:
    """Arrange figures in rows."""
    return '<div class="gallery">' + "".join(figures) + "</div>"


def side_by_side(parts: Iterable[tuple[str, str]]) -> str:
    """Arrange charts in rows, as many in each as the page has room for.

    Args:
        parts: title and chart (HTML) of each figure.
    """
    figures = (
        f'<figure class="chart"><figcaption>{text(title)}</figcaption>{chart}</figure>' for title, chart in parts
    )
    return '<div class="charts">' + "".join(figures) + "</div>"


LAYER_HEIGHT = 44
"""Height of a `layer` in pixels, for aligning a drawing next to the list with the layers."""


def layer(name: str, words: str, figure: str, share: float, *, fitted: bool) -> str:
    """Return a list item for a layer of a network.

    Args:
        name: name of the layer.
        words: description below the name.
        figure: number next to the name.
        share: length of the bar, from 0 to 1.
        fitted: whether the layer was fitted; otherwise the bar is pale.
    """
    bar_class = "share" if fitted else "share kept"
    return (
        f'<li style="height:{LAYER_HEIGHT}px" title="{text(name)}, {text(words)}"><b>{text(name)}</b>'
        f'<span>{text(figure)}</span><span class="words">{text(words)}</span>'
        f'<i class="{bar_class}" style="width:{share:.1%}"></i></li>'
    )


def bar(share: float) -> str:
    """Return a bar for a share between 0 and 1."""
    return f'<span class="meter"><i style="width:{share:.1%}"></i></span>'


def score_bars(scores: Iterable[tuple[str, float, bool]]) -> str:
    """Return labels with their scores as bars.

    Args:
        scores: label, score, and whether to print the label in bold.
    """
    rows = "".join(
        f'<div class="score"><span>{f"<b>{text(label)}</b>" if right else text(label)}</span>'
        f"<span>{score:.0%}</span>{bar(score)}</div>"
        for label, score, right in scores
    )
    return f'<div class="scores">{rows}</div>'


def shaded(content: str, share: float, *, good: bool) -> str:
    """Return a number, as HTML, on a background whose intensity grows with `share`: blue if `good`, otherwise red."""
    return f'<span class="{"good" if good else "bad"}" style="--share:{share:.2f}">{content}</span>'


def link(name: str, content: str) -> str:
    """Return a link to an anchor of the page. `content` is HTML."""
    return f'<a href="#{name}">{content}</a>'


def file_link(path: str, content: str) -> str:
    """Return a link to a file relative to the page. `content` is HTML."""
    return f'<a href="{text(path)}">{content}</a>'


def anchor(name: str, title: str, body: str) -> str:
    """Return a part of a page with a heading; a `link` can lead to this part. `body` is HTML."""
    return f'<div id="{name}"><h3>{text(title)}</h3>{body}</div>'


def target(name: str, title: str, body: str) -> str:
    """Return a part of a page that is hidden until a `link` to this part is followed. `body` is HTML."""
    return f'<div class="target" id="{name}"><h3>{text(title)}</h3>{body}</div>'
