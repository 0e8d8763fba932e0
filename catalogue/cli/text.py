"""Small helpers for messages."""

from __future__ import annotations

import re

# Controls, which can redraw a terminal; marks that turn the direction of what follows; separators of lines.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def counted(count: int, noun: str) -> str:
    """A number of things in words: ``1 dead letter``, ``2,000 dead letters``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def one_line(text: str, limit: int = 500) -> str:
    """`text` with its line breaks and runs of spaces folded, cut at `limit` characters."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def visible(text: str, keep: str = "") -> str:
    """Text with escapes for the characters that would act on what shows it instead of being shown: ``\\x1b``.

    Args:
        text: of one line.
        keep: which of them to keep.
    """
    return _INVISIBLE.sub(lambda found: found[0] if found[0] in keep else _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
