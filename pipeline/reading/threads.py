"""Threads that read, of which one that never comes back can be replaced."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable


class Threads:
    """A number of threads that run calls, in the order in which they were submitted.

    `concurrent.futures` cannot replace a thread, and waits for all of them when the process ends.

    Args:
        count: how many there are.
        name: what their names begin with.

    Attributes:
        stuck: how many were replaced and have not come back.
    """

    def __init__(self, count: int, name: str) -> None:
        self._name, self._calls = name, queue.SimpleQueue[Callable[[], bool]]()
        self._lock, self.stuck = threading.Lock(), 0
        for _ in range(count):
            self._add()

    def replace_one(self) -> None:
        """Starts a thread in place of one that is stuck, if the system has another one."""
        with self._lock:
            self.stuck += 1
        with contextlib.suppress(RuntimeError):
            self._add()

    def came_back(self) -> None:
        """Says that a thread which was replaced is not stuck any more. It ends."""
        with self._lock:
            self.stuck -= 1

    def _add(self) -> None:
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def submit(self, call: Callable[[], bool]) -> None:
        """Runs a call as soon as a thread is free. Its result is False if the thread has been replaced meanwhile."""
        self._calls.put(call)

    def _run(self) -> None:
        while self._calls.get()():
            pass
