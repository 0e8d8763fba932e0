"""HTTP statuses and timeouts shared by all clients of the storage layer."""

from __future__ import annotations

from catalogue.reasons import Reason

CONNECT_SECONDS, SILENCE_SECONDS = 10.0, 20.0
RETRIED_STATUS = (408, 429, 500, 502, 503, 504)


_WHOLE_FILE = (200, 203)  # 203: a proxy has transformed the file


def reason_of(status: int) -> Reason | None:
    """Return the failure reason for the HTTP status of a read; None if the response holds the whole file.

    Other 2xx statuses are failures: some firewalls send a challenge with 202, and 206 holds only a part of the file.
    """
    if status in _WHOLE_FILE:
        return None
    if status in (401, 403, 407, 451):
        return Reason.PERMISSION_DENIED
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        return Reason.NOT_FOUND
    return Reason.READ_FAILED
