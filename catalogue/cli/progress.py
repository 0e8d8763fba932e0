"""Progress display for long steps."""

from __future__ import annotations

import contextlib
import os
import time

from catalogue.cli.logs import say, terminal
from catalogue.cli.text import visible

_BAR = 20
_REDRAWN, _FIRST_LINE, _NEXT_LINE = 0.2, 2.0, 10.0  # seconds


class Progress:
    """Progress of a long step: one redrawn line on a terminal; otherwise a line after 2 s, then one every 10 s.

    Args:
        title: description of the step, such as ``"reading photos"``.
        total: number of items; None if unknown.
        unit: plural noun for the items, such as ``"photos"``.
        done: number of items that an earlier run has finished.
    """

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done, self._before, self._note = done, done, ""
        self._start = self._shown = time.monotonic()
        self._redraws = terminal().isatty()
        self._last_text = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._show(final=True)

    def expect(self, total: int | None) -> None:
        """Set the total number of items, if the total becomes known or grows during the step."""
        self._total = total

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more items as done; `note` is shown at the end of the line."""
        self._done += steps
        self._note = note
        pause = _REDRAWN if self._redraws else _NEXT_LINE if self._last_text else _FIRST_LINE
        if time.monotonic() - self._shown >= pause:
            self._show(final=False)

    def close(self) -> None:
        """End the display without updating the line, for a step whose final count is unknown."""
        if self._last_text and self._redraws:
            say()

    def milestone(self, note: str) -> None:
        """Show the progress and `note` immediately; outside a terminal, at most once a second."""
        self._note = note
        if time.monotonic() - self._shown >= (0.0 if self._redraws else 1.0):
            self._show(final=False)

    def _show(self, *, final: bool) -> None:
        self._shown = time.monotonic()
        text = self._text(final)
        if self._redraws:
            columns = os.get_terminal_size(terminal().fileno()).columns or 80
            if len(text) >= columns and not final:  # a line that wraps cannot be redrawn
                text = self._text(final, short=True)[: columns - 1]
            padding = " " * max(0, len(self._last_text) - len(text))
            with contextlib.suppress(OSError):  # the terminal may be closed
                print(f"\r{text}{padding}", end="\n" if final else "", file=terminal(), flush=True)
        else:
            say(text)
        self._last_text = text

    def _text(self, final: bool, *, short: bool = False) -> str:
        seconds = max(self._shown - self._start, 1e-6)
        rate = (self._done - self._before) / seconds
        if short and self._total:
            parts = [f"{self._title} {self._done / self._total:.0%}"]
        else:
            of = f" of {self._total:,}" if self._total else ""
            parts = [f"{self._title}: {self._done:,}{of} {self._unit}"]
            if self._redraws and self._total:
                filled = min(self._done * _BAR // self._total, _BAR)
                parts.append("█" * filled + "░" * (_BAR - filled))
            parts.append(f"{rate:,.1f}/s")
        if final or not self._total or not rate:
            parts.append(f"{seconds:.0f} s")
        else:
            parts.append(f"{max(self._total - self._done, 0) / rate:.0f} s left")
        return visible("  ".join(parts + ([self._note] if self._note else [])))
