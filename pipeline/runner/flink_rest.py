"""Client for the REST API of Flink's JobManager: cluster size, job state, cancellation.

Source: https://nightlies.apache.org/flink/flink-docs-stable/docs/ops/rest_api/
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.request
from typing import Any

from catalogue.cli.errors import UserError

_ANSWER_SECONDS = 10.0
_NO_ANSWER = (OSError, ValueError, LookupError, TypeError, http.client.HTTPException)
ENDED = ("FINISHED", "FAILED", "CANCELED")


def check(master: str) -> None:
    """Check that a JobManager answers.

    Args:
        master: ``HOST:PORT`` or URL of the JobManager.

    Raises:
        UserError: the JobManager does not answer.
    """
    try:
        _ask(f"{_url(master)}/overview")
    except _NO_ANSWER as error:
        why = getattr(error, "reason", None) or error
        raise UserError(f"--flink_master {master} does not answer: {getattr(why, 'strerror', None) or why}") from error


def task_managers(master: str) -> int:
    """Return the number of TaskManagers; 0 if unknown.

    Args:
        master: ``HOST:PORT`` or URL of the JobManager.
    """
    return _number(master, "taskmanagers")


def slots(master: str) -> int:
    """Return the total number of slots of all TaskManagers; 0 if unknown.

    Args:
        master: ``HOST:PORT`` or URL of the JobManager.
    """
    return _number(master, "slots-total")


def _number(master: str, name: str) -> int:
    try:
        return int(_ask(f"{_url(master)}/overview")[name])
    except _NO_ANSWER:
        return 0


def state(master: str, name: str) -> str | None:
    """Return the state, such as ``RUNNING``, of the newest job called `name`; None if no such job is found."""
    try:
        job = _newest(master, name)
        return str(job["state"]) if job else None
    except _NO_ANSWER:
        return None


def cancel(master: str, name: str) -> None:
    """Cancel the newest job called `name`. Raises OSError if Flink has no such job or does not answer as expected."""
    try:
        job = _newest(master, name)
        if job is None:
            raise OSError(f"Flink at {master} has no job {name}")
        if job["state"] not in ENDED:
            _ask(f"{_url(master)}/jobs/{job['jid']}?mode=cancel", "PATCH")
    except _NO_ANSWER as error:
        raise OSError(f"Flink at {master}: {error}") from error


def _newest(master: str, name: str) -> dict[str, Any] | None:
    found = [job for job in _ask(f"{_url(master)}/jobs/overview")["jobs"] if job["name"] == name]
    return max(found, key=lambda job: job["start-time"], default=None)


def _url(master: str) -> str:
    return (master if re.match("https?://", master) else f"http://{master}").rstrip("/")


def _ask(url: str, method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:
        return json.loads(response.read() or b"null")
