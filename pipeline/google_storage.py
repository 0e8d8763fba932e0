"""Objects of Google Cloud Storage, with the credentials and the checksums of its client library."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
from typing import Any
from urllib.parse import quote

import google.auth
import google_crc32c
from google.auth.credentials import TokenState
from google.auth.exceptions import GoogleAuthError

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import objects

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)


async def read(location: str, limits: Limits, admit: objects.Admit) -> bytes:
    """`pipeline.objects.get` for ``gs://BUCKET/NAME``."""
    bucket, _, name = location.removeprefix("gs://").partition("/")
    if not bucket or not name:
        raise ImageError(Reason.NOT_FOUND, f"{location} names no object")

    async def request() -> tuple[str, dict[str, str]]:
        path = f"download/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media"
        return f"{access().endpoint}/{path}", await access().headers()

    try:
        return await objects.get(request, _is_intact, limits, admit)
    except GoogleAuthError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except UnicodeError as error:
        raise ImageError(Reason.NOT_FOUND, f"{location!r} names no object: {error}") from error


class Access:
    """Where the storage is, and the default credentials.

    An emulator takes its place where ``STORAGE_EMULATOR_HOST`` names one; it wants no credentials. That there are none
    is said whenever they are needed, but they are looked for once: that may take seconds.

    Attributes:
        endpoint: the beginning of URLs.
    """

    def __init__(self) -> None:
        self._credentials: Any = None
        self._error: GoogleAuthError | None = None
        self._refreshing: asyncio.Future[None] | None = None
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if emulator:
            self.endpoint = (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")
            return
        self.endpoint = "https://storage.googleapis.com"
        try:
            self._credentials, _ = google.auth.default(scopes=_SCOPES)
            self.endpoint = f"https://storage.{self._credentials.universe_domain}"
        except GoogleAuthError as error:
            self._error = error

    async def headers(self) -> dict[str, str]:
        """Those that a request is let in for.

        A token is renewed before it has expired; while that takes its time, or fails, the old one serves.

        Raises:
            GoogleAuthError: there is none; TransportError, one of these, if the same may go well later.
        """
        headers: dict[str, str] = {}
        if self._error:
            raise self._error
        if self._credentials:
            state = self._credentials.token_state
            if state is not TokenState.FRESH and (self._refreshing is None or self._refreshing.done()):
                self._refreshing = asyncio.get_running_loop().run_in_executor(None, self._refresh)
                self._refreshing.add_done_callback(lambda future: future.exception())  # nobody may wait for it
            if state is TokenState.INVALID and self._refreshing:
                await self._refreshing
            self._credentials.apply(headers)
        return headers

    def _refresh(self) -> None:
        from google.auth.transport.requests import Request

        self._credentials.refresh(Request())


@functools.cache
def access() -> Access:
    """The process's access, for one event loop."""
    return Access()


def _is_intact(data: bytes, headers: objects.Headers) -> bool:
    """Compares what came with the checksum that the storage keeps, unless that is of a packed form of it."""
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return True
    kept = [part.strip() for part in ",".join(headers.getall("x-goog-hash", [])).split(",")]
    own = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    return all(part == f"crc32c={own}" for part in kept if part.startswith("crc32c="))
