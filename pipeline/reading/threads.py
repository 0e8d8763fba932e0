"""Thread pool in which a stuck thread can be replaced."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable


class Threads:
    """Pool of daemon threads that start calls in the order of submission.

    `concurrent.futures` cannot replace a stuck thread, and waits for all threads at exit.

    Args:
        count: number of threads.
        name: name of the threads.

    Attributes:
        stuck: number of replaced threads that are still stuck.
    """

    def __init__(self, count: int, name: str) -> None:
        self._name, self._calls = name, queue.SimpleQueue[Callable[[], bool]]()
        self._lock, self.stuck = threading.Lock(), 0
        for _ in range(count):
            self._add()

    def replace_one(self) -> None:
        """Start a thread in place of a stuck one, if the system allows another thread."""
        with self._lock:
            self.stuck += 1
        with contextlib.suppress(RuntimeError):
            self._add()

    def came_back(self) -> None:
        """Record that a replaced thread is no longer stuck and will exit."""
        with self._lock:
            self.stuck -= 1

    def _add(self) -> None:
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def submit(self, call: Callable[[], bool]) -> None:
        """Run a call as soon as a thread is free. The call must return False if its thread has been replaced."""
        self._calls.put(call)

    def _run(self) -> None:
        while self._calls.get()():
            pass
