"""The event loop of a process, for reads from object stores: in a thread of its own, which wakes seldom."""

from __future__ import annotations

import asyncio
import functools
import selectors
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

PATIENCE_SECONDS = 0.03
_T = TypeVar("_T")
_starting = threading.Lock()
_started: set[asyncio.Task[None]] = set()  # the loop itself does not keep them


def submit(coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
    """Runs a coroutine in the loop, from any thread. Returns its result to come."""
    with _starting:
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


def start(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine in the loop, from any thread, at half the cost: it says by itself when it is done."""
    with _starting:
        loop = _loop()
    loop.call_soon_threadsafe(_start, coroutine)


def _start(coroutine: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(coroutine)
    _started.add(task)
    task.add_done_callback(_started.discard)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.SelectorEventLoop(_Patient())
    threading.Thread(target=loop.run_forever, name="event loop", daemon=True).start()
    return loop


class _Patient(selectors.DefaultSelector):
    """Lets some time pass once there is something to do: there will be more then.

    Each time that this thread wakes, one that decodes waits for Python's lock, and its core for what the caches have
    lost. With a wake for each packet a process classifies a twentieth less.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready."""
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        super().select(timeout)
        time.sleep(PATIENCE_SECONDS)
        return super().select(0)
