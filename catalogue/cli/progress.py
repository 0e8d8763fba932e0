"""The progress display of long steps."""

from __future__ import annotations

import contextlib
import os
import time

from catalogue.cli.logs import say, terminal
from catalogue.cli.text import visible

_BAR = 20
_REDRAWN, _FIRST_LINE, _NEXT_LINE = 0.2, 2.0, 10.0  # seconds


class Progress:
    """How far a long step is: one line that is redrawn on a terminal; elsewhere a line after two seconds and every ten.

    Args:
        title: what is being done, such as ``"reading photos"``.
        total: how many steps there are; None where nobody knows.
        unit: what one step is, for the rate: ``"photos"``.
        done: how many of them an earlier run has done.
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
        """Says how many steps there are, where that comes to be known, or grows, on the way."""
        self._total = total

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts `steps` more as done; `note` stands at the end of the line."""
        self._done += steps
        self._note = note
        pause = _REDRAWN if self._redraws else _NEXT_LINE if self._last_text else _FIRST_LINE
        if time.monotonic() - self._shown >= pause:
            self._show(final=False)

    def close(self) -> None:
        """Leaves it as it was shown last, where nobody knows how far it came in the end."""
        if self._last_text and self._redraws:
            say()

    def milestone(self, note: str) -> None:
        """Says at once how far it is, unless that was said within the last second."""
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
            with contextlib.suppress(OSError):  # the terminal may have gone
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
