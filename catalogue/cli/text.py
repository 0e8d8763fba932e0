"""Helpers for the text of messages."""

from __future__ import annotations

import re

# Control characters, which can redraw a terminal; bidirectional marks; line separators.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 dead letter``, ``2,000 dead letters``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def one_line(text: str, limit: int = 500) -> str:
    """Collapse the line breaks and runs of spaces in `text`, and cut it at `limit` characters."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def visible(text: str, keep: str = "") -> str:
    """Escape characters that would affect the terminal or page, such as control characters and direction marks.

    Args:
        text: one line of text.
        keep: such characters that are not escaped.
    """
    return _INVISIBLE.sub(lambda found: found[0] if found[0] in keep else _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
