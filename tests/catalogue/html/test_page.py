from __future__ import annotations

import html.parser

import numpy as np

from catalogue.html import page

HOSTILE = '<script>alert("&")</script>'


class Checker(html.parser.HTMLParser):
    """Parser that collects tags and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.shown: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def parsed(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    return checker


def test_whatever_comes_from_data_is_inert() -> None:
    picture = page.jpeg(np.zeros((4, 4, 3), np.uint8))
    body = [
        page.section(HOSTILE, page.cards({HOSTILE: HOSTILE})),
        page.table([HOSTILE], [[page.text(HOSTILE)]]),
        page.details(HOSTILE),
        page.figure(picture, page.text(HOSTILE), HOSTILE),
        page.figure(None, "", HOSTILE),
        page.score_bars([(HOSTILE, 0.5, True)]),
        page.target("here", HOSTILE, ""),
    ]
    checker = parsed(page.document(HOSTILE, HOSTILE, body))
    assert "script" not in checker.tags
    assert checker.shown.count(HOSTILE) >= 9


def test_a_page_needs_no_other_file() -> None:
    picture = page.figure(page.jpeg(np.zeros((4, 4, 3), np.uint8)), "", "")
    text = page.document("Run", "of today", [picture])
    assert "http" not in text.replace("http-equiv", "")
    assert 'src="data:image/jpeg;base64,' in text


def test_right_to_left_text_does_not_reorder_the_text_beside_it() -> None:
    assert page.text("hat 1") == "hat 1"
    assert page.text("כובע (1)") == "\u2068כובע (1)\u2069"
    assert page.text("\u200fhat") == "\u2068\u200fhat\u2069"
    assert page.text("photo\u202egpj.exe") == r"photo\u202egpj.exe"
    assert page.text("כ\u2069\u202e\x1b[2J") == "\u2068כ" + r"\u2069\u202e\x1b[2J" + "\u2069"
