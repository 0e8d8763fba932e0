"""Parallel storage requests from a thread pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

_THREADS = 8  # below google-cloud-storage's pool of ten connections
_T = TypeVar("_T")


def for_each(function: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Call a function for each item in several threads. Stop at the first error and raise it."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
        done, waiting = wait([pool.submit(function, item) for item in items], return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
    for future in done:
        future.result()
