from __future__ import annotations

import threading

import pytest

from catalogue.storage.parallel import for_each


def test_items_are_taken_several_at_a_time() -> None:
    together = threading.Barrier(4, timeout=10)
    done: list[int] = []

    def wait(item: int) -> None:
        together.wait()  # for three other items, which must be in progress
        done.append(item)

    for_each(wait, range(20))
    assert sorted(done) == list(range(20))


def test_the_first_error_is_raised_and_the_rest_is_left() -> None:
    begun: list[int] = []
    after = threading.Event()

    def fail(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("the network is away")
        after.wait(1 if item == 0 else 0.01)  # the first item takes longest

    with pytest.raises(ValueError, match="the network is away"):
        for_each(fail, range(10_000))
    assert len(begun) < 100
