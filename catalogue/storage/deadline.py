"""Deadline for a whole read, whatever the read waits for.

A socket timeout limits each wait, not the total: a server may keep sending single bytes forever. A `Deadline` shuts
down the sockets of a read when the time is up.
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
"""Default time limit of a read."""
GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.2
_current = threading.local()


class TimedOut(StorageError):
    """A read, or one of its requests, took too long."""


class Deadline:
    """Time limit for a ``with`` block of one thread; time in `paused` does not count.

    Args:
        seconds: limit in seconds.
        when_stuck: callback for a block that is still running `GRACE_SECONDS` after the limit. It is called once, from
            another thread.
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
        """Return the remaining seconds; negative after the deadline."""
        paused_at = self._paused_at
        return self._end - (time.monotonic() if paused_at is None else paused_at)

    def check(self) -> None:
        """Raise TimedOut if the time is up."""
        if self.remaining() <= 0:
            raise self.timed_out()

    def timed_out(self) -> TimedOut:
        """Return the error for a read that exceeds this deadline."""
        return TimedOut(Reason.READ_FAILED, f"the read did not finish within {self.seconds:g} s")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for delays that the storage does not cause, such as waiting for memory."""
        self._paused_at = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - self._paused_at
            self._paused_at = None

    def shut_down_in_time(self, duplicate: socket.socket) -> None:
        """Register a connection to be shut down when the time is up, which wakes any thread blocked on it.

        Args:
            duplicate: duplicate of the connection's socket; `let_go` closes it.
        """
        with self._lock:
            self._sockets.append(duplicate)

    def let_go(self) -> None:
        """Release all connections, so that this deadline no longer shuts them down."""
        with self._lock:
            for duplicate in self._sockets:
                duplicate.close()
            self._sockets.clear()

    def tick(self) -> None:
        """Shut down the connections if the time is up, and call `when_stuck` if the grace period is over too."""
        remaining, call = self.remaining(), None
        if remaining > 0:
            return
        with self._lock:
            for duplicate in self._sockets:
                with contextlib.suppress(OSError):  # the peer has closed it
                    duplicate.shutdown(socket.SHUT_RDWR)
            if remaining < -GRACE_SECONDS:
                call, self._when_stuck = self._when_stuck, None
        if call:
            call()


def current() -> Deadline | None:
    """Return the deadline of this thread, if any."""
    return getattr(_current, "deadline", None)


@contextlib.contextmanager
def some_deadline() -> Iterator[Deadline]:
    """Yield the deadline of this thread, or a new one if it has none."""
    found = current()
    if found is not None:
        yield found
        return
    with Deadline(READ_SECONDS) as deadline:
        yield deadline


class _Watch:
    """Background thread that enforces all deadlines of this process."""

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
                except Exception:  # one failure must not stop the others
                    logging.getLogger(__name__).exception("a read deadline cannot be enforced")
            time.sleep(_POLL_SECONDS)


_watch = _Watch()
