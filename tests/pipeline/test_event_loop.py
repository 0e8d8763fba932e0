"""The loop that reads from object stores."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
import weakref

import pytest

from pipeline import event_loop


async def who() -> str:
    await asyncio.sleep(0.001)
    return threading.current_thread().name


def test_it_is_one_thread_for_all() -> None:
    futures = []

    def ask() -> None:
        futures.append(event_loop.submit(who()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {future.result(5) for future in futures} == {"event loop"}
    assert sum(thread.name == "event loop" for thread in threading.enumerate()) == 1


async def fail() -> None:
    raise ValueError("no")


def test_errors_come_back() -> None:
    with pytest.raises(ValueError, match="no"):
        event_loop.submit(fail()).result(5)


def test_what_is_started_is_kept_until_it_is_done() -> None:
    """The loop alone would forget a task that nothing else holds on to."""
    waiting: list[weakref.ref[asyncio.Future[None]]] = []
    done: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def wait() -> None:
        future = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(future))
        await future
        done.put("done")

    async def answer() -> None:
        future = waiting[0]()
        assert future is not None
        future.set_result(None)

    event_loop.start(wait())
    event_loop.submit(nothing()).result(5)
    gc.collect()
    event_loop.submit(answer()).result(5)
    assert done.get(timeout=5) == "done"
    event_loop.submit(nothing()).result(5)
    assert not event_loop._started


async def nothing() -> None:
    pass


def test_what_comes_one_by_one_is_done_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread wakes thirty times a second, however much there is to do."""
    wakes, select = [], event_loop._Patient.select

    def counted(self: event_loop._Patient, timeout: float | None = None) -> object:
        wakes.append(timeout is None or timeout > 0)
        return select(self, timeout)

    event_loop.submit(nothing()).result()
    monkeypatch.setattr(event_loop._Patient, "select", counted)
    start = time.monotonic()
    futures = []
    for _ in range(200):
        futures.append(event_loop.submit(nothing()))
        time.sleep(0.001)
    for future in futures:
        future.result(5)
    assert sum(wakes) <= (time.monotonic() - start) / event_loop.PATIENCE_SECONDS + 2
