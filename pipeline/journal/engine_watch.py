"""Saves what a worker has found as soon as the process of its engine is gone, before another worker begins it again.

Without it a worker notices the loss when it next sends or wants something, which can take longer than an engine needs
to start the work anew. `pipeline.runner.boot` says which process it is.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pipeline.journal.open_chunks import save_all
from pipeline.runner.boot import ENGINE_VARIABLE

_LOOK_SECONDS = 0.25
_lock = threading.Lock()
_watched: set[int] = set()


def start() -> None:
    """Watches the engine that the environment names, once for this process. Does nothing if it names none."""
    named = os.environ.get(ENGINE_VARIABLE, "")
    if not named.isdecimal():
        return
    with _lock:
        if int(named) in _watched:
            return
        _watched.add(int(named))
    threading.Thread(target=_watch, args=(int(named),), name="engine", daemon=True).start()


def _watch(process: int) -> None:
    begun = _begun(process)
    while begun and _begun(process) == begun:
        time.sleep(_LOOK_SECONDS)
    if begun:
        save_all()


def _begun(process: int) -> str:
    """When a process began, so that another one with its number is told from it; empty if there is none.

    Source: proc_pid_stat(5), Linux. Elsewhere it is always empty.
    """
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in ("Z", "X") else fields[18]
