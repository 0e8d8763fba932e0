"""The few things that are asked of Flink itself, at the REST API of its JobManager.

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
    """Asks whether there is a Flink.

    Args:
        master: ``HOST:PORT`` or URL of the JobManager.

    Raises:
        UserError: it does not answer.
    """
    try:
        _ask(f"{_url(master)}/overview")
    except _NO_ANSWER as error:
        why = getattr(error, "reason", None) or error
        raise UserError(f"--flink_master {master} does not answer: {getattr(why, 'strerror', None) or why}") from error


def task_managers(master: str) -> int:
    """How many TaskManagers a Flink has; 0 if it does not say.

    Args:
        master: ``HOST:PORT`` or URL of the JobManager.
    """
    return _number(master, "taskmanagers")


def slots(master: str) -> int:
    """How many slots all TaskManagers of a Flink have together; 0 if it does not say.

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
    """The state of the newest job of a name, such as ``RUNNING``; None if Flink does not say, or knows none."""
    try:
        job = _newest(master, name)
        return str(job["state"]) if job else None
    except _NO_ANSWER:
        return None


def cancel(master: str, name: str) -> None:
    """Ends the newest job of a name. Raises OSError if Flink does not answer as it should, or knows none."""
    try:
        job = _newest(master, name)
        if job is None:
            raise OSError(f"Flink at {master} knows no job {name}")
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
