"""Per-host concurrency limit for web reads, and a circuit breaker for hosts that keep timing out."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Iterator

from catalogue.reasons import Reason, StorageError
from catalogue.storage.deadline import Deadline, TimedOut
from catalogue.storage.http_status import SILENCE_SECONDS

READS_PER_HOST = 4
SKIPPED_SECONDS = 60.0
_LAST_READS, _TIMED_OUT = 8, 4


class Hosts:
    """Web hosts that this process reads from.

    A host is skipped for a minute once 4 of its last 8 requests have timed out. If the next request after that times
    out, too, the host is skipped again. (The packages pybreaker and circuitbreaker count consecutive failures instead,
    so a host that answers every other request would never be skipped.)
    """

    def __init__(self) -> None:
        self._lock, self._hosts = threading.Lock(), dict[str, _Host]()

    @contextlib.contextmanager
    def turn(self, name: str, deadline: Deadline) -> Iterator[None]:
        """Wait for a free slot at a host, with the deadline paused, and hold it for the ``with`` block.

        Args:
            name: host name with scheme and port.
            deadline: deadline of the read.

        Raises:
            StorageError: the host is skipped, or the time is up.
        """
        with self._lock:
            host = self._hosts.setdefault(name, _Host())
        with deadline.paused():
            host.turns.acquire()
        try:
            left = host.skipped_until - time.monotonic()
            if left > 0:
                raise StorageError(Reason.READ_FAILED, f"{name} keeps timing out: skipped for another {left:.0f} s")
            deadline.check()
            had_time = deadline.remaining() >= min(SILENCE_SECONDS, deadline.seconds / 2)
            timed_out = False
            try:
                yield
            except TimedOut:
                timed_out = had_time  # unless an earlier host used up most of the time
                raise
            finally:
                with self._lock:
                    host.ended(timed_out=timed_out)
        finally:
            host.turns.release()


class _Host:
    def __init__(self) -> None:
        self.turns = threading.Semaphore(READS_PER_HOST)
        self.skipped_until = 0.0
        self._timed_out: collections.deque[bool] = collections.deque(maxlen=_LAST_READS)

    def ended(self, *, timed_out: bool) -> None:
        self._timed_out.append(timed_out)
        if timed_out and sum(self._timed_out) >= _TIMED_OUT:
            self.skipped_until = time.monotonic() + SKIPPED_SECONDS
