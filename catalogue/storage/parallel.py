"""The same request for many files, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

_THREADS = 8  # google-cloud-storage keeps ten connections
_T = TypeVar("_T")


def for_each(function: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Calls a function for each item, in several threads. Raises its first error, and then begins no further calls."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
        done, waiting = wait([pool.submit(function, item) for item in items], return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
    for future in done:
        future.result()
