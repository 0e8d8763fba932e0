"""The few things that are asked of Flink itself, at the REST API of its JobManager.

Source: https://nightlies.apache.org/flink/flink-docs-stable/docs/ops/rest_api/
"""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

_ANSWER_SECONDS = 10.0
_ENDED = ("FINISHED", "FAILED", "CANCELED")


def task_managers(master: str) -> int:
    """How many TaskManagers a Flink has; 0 if it does not say.

    Args:
        master: ``HOST:PORT`` or URL of the JobManager.
    """
    try:
        return int(_ask(f"{_url(master)}/overview")["taskmanagers"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def cancel(master: str, name: str) -> None:
    """Ends the jobs of a name. Raises OSError or ValueError if Flink does not answer as it should."""
    for job in _jobs(master, name):
        if job["state"] not in _ENDED:
            _ask(f"{_url(master)}/jobs/{job['jid']}?mode=cancel", "PATCH")


def has_ended(master: str, name: str) -> bool | None:
    """Whether all jobs of a name have ended; None if Flink does not say."""
    try:
        found = _jobs(master, name)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return all(job["state"] in _ENDED for job in found) if found else None


def _jobs(master: str, name: str) -> list[dict[str, Any]]:
    return [job for job in _ask(f"{_url(master)}/jobs/overview")["jobs"] if job["name"] == name]


def _url(master: str) -> str:
    return (master if re.match("https?://", master) else f"http://{master}").rstrip("/")


def _ask(url: str, method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:
        return json.loads(response.read() or b"null")
