from __future__ import annotations

import socket
import threading
import time

import pytest

from catalogue.storage import deadline
from catalogue.storage.deadline import Deadline, TimedOut, current, some_deadline


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(deadline, "_POLL_SECONDS", 0.01)


def test_the_clock_stands_still_while_it_is_paused() -> None:
    with Deadline(0.3) as own:
        with own.paused():
            time.sleep(0.5)
        assert 0.2 < own.remaining() <= 0.3
        own.check()
        time.sleep(0.35)
        with pytest.raises(TimedOut, match=r"the read did not finish within 0\.3 s"):
            own.check()


def test_each_thread_has_its_own_deadline_and_deadlines_nest() -> None:
    found: list[object] = []
    assert current() is None
    with Deadline(1) as outer:
        with Deadline(1) as inner:
            assert current() is inner
            thread = threading.Thread(target=lambda: found.append(current()))
            thread.start()
            thread.join()
        with some_deadline() as again:
            assert again is outer
    assert (current(), found) == (None, [None])
    with some_deadline() as own:
        assert own.seconds == deadline.READ_SECONDS


def test_whoever_waits_for_a_connection_wakes_up() -> None:
    one, other = socket.socketpair()
    start = time.monotonic()
    with one, other, Deadline(0.2) as own:
        own.shut_down_in_time(one.dup())
        assert one.recv(1) == b""
        assert 0.2 <= time.monotonic() - start < 2


def test_connections_that_were_let_go_are_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other, Deadline(0.1) as own:
        own.shut_down_in_time(one.dup())
        own.let_go()
        time.sleep(0.3)
        other.sendall(b"x")
        assert one.recv(1) == b"x"


def test_a_stuck_read_is_reported_once_and_a_timely_one_is_not() -> None:
    told: list[str] = []
    with Deadline(0.1, when_stuck=lambda: told.append("late")):
        time.sleep(0.5)
    with Deadline(5, when_stuck=lambda: told.append("in time")):
        pass
    time.sleep(0.3)
    assert told == ["late"]


def test_a_callback_that_fails_does_not_end_the_others() -> None:
    def fail() -> None:
        raise RuntimeError("no more threads")

    with Deadline(0.1, when_stuck=fail):
        time.sleep(0.4)
    told: list[bool] = []
    with Deadline(0.1, when_stuck=lambda: told.append(True)):
        time.sleep(0.4)
    assert told == [True]
