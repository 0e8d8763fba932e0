"""What the answers of HTTP servers mean for an image, and how much is taken of them, and for how long."""

from __future__ import annotations

import time

from catalogue.images.reader import ImageError, Limits, Reason

CONNECT_SECONDS, READ_SECONDS, BODY_SECONDS = 10.0, 20.0, 60.0
RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
UNKNOWN_SIZE = 1 << 20  # bytes, where a server does not say


def reason_of(status: int) -> Reason | None:
    """What an HTTP status means for an image; None if it has one."""
    if 200 <= status < 300:
        return None
    if status in (401, 403, 407, 451):
        return Reason.PERMISSION_DENIED
    if 400 <= status < 500 and status not in (408, 425, 429):
        return Reason.NOT_FOUND
    return Reason.READ_FAILED


def too_many_bytes(limits: Limits) -> ImageError:
    """The error for what is above the limit."""
    return ImageError(Reason.TOO_MANY_BYTES, f"more than {limits.max_bytes:,} bytes")


def expected_size(announced: int | None, limits: Limits) -> int:
    """How many bytes will come, a guess where a server does not say. Raises ImageError if they are too many."""
    if announced is None:
        return min(UNKNOWN_SIZE, limits.max_bytes)
    if announced > limits.max_bytes:
        raise too_many_bytes(limits)
    return announced


class Body:
    """The bytes of an answer, which come block by block, but not for ever and never much beyond the limit.

    Args:
        limits: what is too large.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._bytes = limits, bytearray()
        self._deadline = time.monotonic() + BODY_SECONDS

    def add(self, block: bytes) -> None:
        """One more block. Raises ImageError: it is too large, or takes too long."""
        self._bytes += block
        if len(self._bytes) > self._limits.max_bytes:
            raise too_many_bytes(self._limits)
        if time.monotonic() > self._deadline:
            raise ImageError(Reason.READ_FAILED, f"not read whole in {BODY_SECONDS:.0f} s")

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)
