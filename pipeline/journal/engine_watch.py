"""Saves the results of a worker as soon as its engine process dies, before another worker repeats the work.

Otherwise a worker would notice the loss only when it next communicates with the engine process. By then, the work may
have been restarted elsewhere. `pipeline.runner.boot` passes on the PID of the engine process.
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
    """Watch the engine process whose PID is in the environment, once per worker. Does nothing if there is no PID."""
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
    """Return the start time of a process, to detect that its PID was reused; empty if it is not running.

    Source: proc_pid_stat(5), Linux. Always empty on other systems.
    """
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in ("Z", "X") else fields[18]
