"""Small helpers for messages."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A number of things in words: ``1 dead letter``, ``2,000 dead letters``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def one_line(text: str, limit: int = 500) -> str:
    """`text` with its line breaks and runs of spaces folded, cut at `limit` characters."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"
