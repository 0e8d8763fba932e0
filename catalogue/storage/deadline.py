"""A limit of time for the whole of a read, whatever it waits for.

Time-outs of sockets limit how long each part of a read may take, but not their number: a server may send a byte now and
then, for ever. A `Deadline` shuts the sockets of a read down when its time is over.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

from catalogue.reasons import Reason, StorageError

READ_SECONDS = 90.0
"""The limit of a read, unless the caller has another one."""
GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.2
_current = threading.local()


class TimedOut(StorageError):
    """A read, or a part of it, took too long."""


class Deadline:
    """A limit of time for what a thread does within a ``with`` block, apart from what it does while it is `paused`.

    Args:
        seconds: the limit.
        when_stuck: is called once, in another thread, if the block has not ended `GRACE_SECONDS` after the limit.
    """

    def __init__(self, seconds: float, when_stuck: Callable[[], None] | None = None) -> None:
        self.seconds, self._when_stuck = seconds, when_stuck
        self._lock, self._sockets = threading.Lock(), list[socket.socket]()
        self._end = 0.0
        self._paused_at: float | None = None
        self._outer: Deadline | None = None

    def __enter__(self) -> Deadline:
        self._end = time.monotonic() + self.seconds
        self._outer, _current.deadline = current(), self
        _watch.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watch.discard(self)
        _current.deadline = self._outer
        with self._lock:
            self._when_stuck = None
        self.let_go()

    def remaining(self) -> float:
        """How many seconds are left; negative once the time is over."""
        paused_at = self._paused_at
        return self._end - (time.monotonic() if paused_at is None else paused_at)

    def check(self) -> None:
        """Raises TimedOut once the time is over."""
        if self.remaining() <= 0:
            raise self.timed_out()

    def timed_out(self) -> TimedOut:
        """The error for a read that does not end in time."""
        return TimedOut(Reason.READ_FAILED, f"not read whole in {self.seconds:g} s")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock, for what is not the fault of the storage, such as waiting for memory."""
        self._paused_at = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - self._paused_at
            self._paused_at = None

    def shut_down_in_time(self, duplicate: socket.socket) -> None:
        """Shuts a connection down when the time is over: whoever waits for it wakes up.

        Args:
            duplicate: of its socket; it is closed with the deadline.
        """
        with self._lock:
            self._sockets.append(duplicate)

    def let_go(self) -> None:
        """Shuts none of the connections down any more."""
        with self._lock:
            for duplicate in self._sockets:
                duplicate.close()
            self._sockets.clear()

    def tick(self) -> None:
        """Does what is due now."""
        remaining, call = self.remaining(), None
        if remaining > 0:
            return
        with self._lock:
            for duplicate in self._sockets:
                with contextlib.suppress(OSError):  # the other side has closed it
                    duplicate.shutdown(socket.SHUT_RDWR)
            if remaining < -GRACE_SECONDS:
                call, self._when_stuck = self._when_stuck, None
        if call:
            call()


def current() -> Deadline | None:
    """The deadline of this thread."""
    return getattr(_current, "deadline", None)


@contextlib.contextmanager
def some_deadline() -> Iterator[Deadline]:
    """The deadline of this thread; a new one where it has none."""
    found = current()
    if found is not None:
        yield found
        return
    with Deadline(READ_SECONDS) as deadline:
        yield deadline


class _Watch:
    """Looks after all deadlines of this process, in a thread of its own."""

    def __init__(self) -> None:
        self._deadlines, self._changed = set[Deadline](), threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                thread.start()
                self._thread = thread
            if not self._deadlines:
                self._changed.notify()
            self._deadlines.add(deadline)

    def discard(self, deadline: Deadline) -> None:
        with self._changed:
            self._deadlines.discard(deadline)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._deadlines)
                deadlines = list(self._deadlines)
            for deadline in deadlines:
                try:
                    deadline.tick()
                except Exception:  # of one that must not end the others
                    logging.getLogger(__name__).exception("a deadline failed")
            time.sleep(_POLL_SECONDS)


_watch = _Watch()
