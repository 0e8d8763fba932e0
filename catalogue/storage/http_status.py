"""HTTP statuses and timeouts shared by all clients of the storage layer."""

from __future__ import annotations

from catalogue.reasons import Reason

CONNECT_SECONDS, SILENCE_SECONDS = 10.0, 20.0
RETRIED_STATUS = (408, 429, 500, 502, 503, 504)


def reason_of(status: int) -> Reason | None:
    """Return the reason for an HTTP status; None for success."""
    if 200 <= status < 300:
        return None
    if status in (401, 403, 407, 451):
        return Reason.PERMISSION_DENIED
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        return Reason.NOT_FOUND
    return Reason.READ_FAILED
