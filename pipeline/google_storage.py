"""Objects of Google Cloud Storage: one GET each, over connections that the process keeps.

With the credentials and the checksums of the client library, but a fraction of its work, which is as much for each
object as decoding a photo.
"""

from __future__ import annotations

import base64
import functools
import os
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

import google_crc32c
import urllib3
from google.auth.exceptions import GoogleAuthError, TransportError
from urllib3.exceptions import HTTPError, MaxRetryError

from pipeline import web
from trainer.preprocessing import ImageError, Limits, Reason

CONNECTIONS = 64
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)
_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
_lock = threading.Lock()


def read(location: str, limits: Limits, admit: Callable[[int], None]) -> bytes:
    """Reads an object.

    Args:
        location: ``gs://BUCKET/NAME``.
        limits: what is too large.
        admit: is told how many bytes come, and returns when there is room for them.

    Raises:
        ImageError: with the reason.
    """
    bucket, _, name = location.removeprefix("gs://").partition("/")
    if not bucket or not name:
        raise ImageError(Reason.NOT_FOUND, f"{location} names no object")
    path = f"/download/storage/v1/b/{urllib.parse.quote(bucket, safe='')}/o/{urllib.parse.quote(name, safe='')}"
    try:
        with _lock:  # or threads that come at the same time would make one each
            http, endpoint = connections()
        response = http.request("GET", f"{endpoint}{path}?alt=media", preload_content=False)
    except TransportError as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    except GoogleAuthError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except MaxRetryError as error:
        raise ImageError(Reason.READ_FAILED, str(error.reason)) from error
    except (HTTPError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    try:
        data = web.body(response, limits, admit)
    except (HTTPError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    finally:
        response.close()  # which closes the connection only where something was left unread
        response.release_conn()
    _check_sum(data, response.headers)
    return data


def _check_sum(data: bytes, headers: Any) -> None:
    """Compares what came with the checksum that the storage keeps, unless that is of a packed form of it."""
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return
    for part in headers.get("x-goog-hash", "").split(","):
        kind, _, value = part.strip().partition("=")
        if kind == "crc32c" and base64.b64decode(value) != google_crc32c.value(data).to_bytes(4, "big"):
            raise ImageError(Reason.READ_FAILED, "the checksum does not fit: the object was changed on its way")


@functools.cache
def connections() -> tuple[Any, str]:
    """The process's connections, with its credentials, and where they lead to.

    An emulator takes the place of the storage where ``STORAGE_EMULATOR_HOST`` names one; it wants no credentials.
    """
    import google.auth
    from google.auth.transport.urllib3 import AuthorizedHttp

    retries = urllib3.Retry(
        total=5,
        redirect=0,
        status_forcelist=_RETRIED_STATUS,
        backoff_factor=0.5,
        backoff_max=16,
        backoff_jitter=0.5,
        raise_on_status=False,
    )
    pool = urllib3.PoolManager(
        maxsize=CONNECTIONS,
        block=True,
        retries=retries,
        timeout=urllib3.Timeout(connect=web.CONNECT_SECONDS, read=web.READ_SECONDS),
    )
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        return pool, (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return AuthorizedHttp(credentials, http=pool), f"https://storage.{credentials.universe_domain}"
