"""Store for ``http://`` and ``https://``, based on requests, with a per-host concurrency limit and a deadline."""

from __future__ import annotations

import itertools
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any, BinaryIO

import requests
import urllib3
from urllib3.exceptions import InvalidHeader

from catalogue.cli.masking import masked
from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import Access, Route
from catalogue.storage.content_encoding import gzip_layers, without_gzip
from catalogue.storage.deadline import Deadline, some_deadline
from catalogue.storage.hosts import Hosts
from catalogue.storage.http_status import CONNECT_SECONDS, RETRIED_STATUS, SILENCE_SECONDS, reason_of
from catalogue.storage.paths import WEB, scheme
from catalogue.storage.values import (
    UNKNOWN_SIZE,
    Admission,
    Admit,
    Content,
    Listed,
    too_many_bytes,
)
from catalogue.storage.web_connections import Adapter
from catalogue.storage.web_errors import RETRIES, PassingError, translated_errors, wait_before

REDIRECTS = 5
_BLOCK = 1 << 16
_NOT_MODIFIED, _LENGTH_DIGITS = 304, 20
_ASCII = "".join(map(chr, range(128)))


class WebStore:
    """Read-only store for the web. See `catalogue.storage.values.Store`.

    The version of an image is its ETag; without an ETag, its Last-Modified date. Redirects are followed here, one by
    one, so that each target can be checked. Cookies are kept only for the redirects of one image, and ``~/.netrc`` is
    not read. User and password in a URL are sent to its host.

    The deadline of a read covers redirects, headers, body, backoff and retries. Waiting for a free slot at the host
    does not count, and neither does waiting for memory if `admit` pauses the deadline.
    """

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.auth = lambda request: request  # a no-op auth keeps requests from reading ~/.netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers = requests.structures.CaseInsensitiveDict(
            {
                "User-Agent": f"catalogue-classifier/{metadata.version('catalogue-classifier')}",
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "gzip",
            }
        )
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, Adapter())
        self._hosts = Hosts()

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """See `Store`. Redirect targets must be permitted by `access`, too."""
        with some_deadline() as deadline:
            for retry in itertools.count():
                try:
                    with Route() as route:
                        admission = Admission(admit, max_bytes)
                        return self._follow(location, max_bytes, admission, unless, access, route, deadline)
                except StorageError as error:
                    admit(0)  # release the memory during backoff: other reads may be waiting for memory
                    wait = wait_before(error, retry)
                    if wait is None or wait >= deadline.remaining():
                        raise
                    time.sleep(wait)
        raise AssertionError

    def _follow(
        self,
        url: str,
        max_bytes: int,
        admission: Admission,
        unless: str | None,
        access: Access,
        route: Route,
        deadline: Deadline,
    ) -> Content | None:
        """Follow redirects and read the image at their end."""
        condition, cookies = _condition(unless), requests.cookies.RequestsCookieJar()
        for redirects in range(REDIRECTS + 1):
            request = self._request(url, condition, cookies)
            target = request.url or ""
            if redirects and access.prefixes and not access.names(target):
                message = f"redirected to {masked(url)}, which is not below any --allow-uri prefix"
                raise StorageError(Reason.PERMISSION_DENIED, message)
            access.check(target)
            route.check_host(urllib.parse.urlsplit(target).hostname or "")
            with self._hosts.turn(_host(request), deadline):
                found = self._ask(request, cookies, max_bytes, admission, unless, deadline)
            if not isinstance(found, str):
                return found
            url = _redirected(url, found)
        raise StorageError(Reason.NOT_FOUND, f"more than {REDIRECTS} redirects")

    def _ask(
        self,
        request: requests.PreparedRequest,
        cookies: requests.cookies.RequestsCookieJar,
        max_bytes: int,
        admission: Admission,
        unless: str | None,
        deadline: Deadline,
    ) -> Content | str | None:
        """Send a request. Return the image, the target of a redirect, or None if the version is still `unless`."""
        while True:
            with self._answer(request, cookies, deadline) as response:
                target = _target(response)
                if target is not None:
                    return target
                if response.status_code == _NOT_MODIFIED and unless is not None:
                    return None
                _check_status(response)
                if admission.is_fresh_after(_announced_size(response, max_bytes)):
                    return _content(response, max_bytes, deadline)
            # The response went stale while waiting for memory. The memory is reserved now: request again in this slot.

    def stat(self, location: str) -> Listed | None:
        """Return the location without a request: any URL may be a file."""
        return Listed(location)

    def open(self, location: str) -> BinaryIO:
        """See `Store`."""
        raise _unsupported(location)

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """See `Store`."""
        raise _unsupported(folder)

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        raise _unsupported(folder)

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """See `Store`."""
        raise _unsupported(location)

    def copy(self, source: str, target: str) -> None:
        """See `Store`."""
        raise _unsupported(target)

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        raise _unsupported(next(iter(locations), ""))

    def close(self) -> None:
        """See `Store`."""
        self._session.close()

    def _request(
        self, url: str, headers: dict[str, str], cookies: requests.cookies.RequestsCookieJar
    ) -> requests.PreparedRequest:
        with translated_errors(url):
            user, password = requests.utils.get_auth_from_url(url)
            auth = (user, password) if user or password else None
            return self._session.prepare_request(
                requests.Request("GET", url, headers=headers, cookies=cookies, auth=auth)
            )

    def _answer(
        self, request: requests.PreparedRequest, cookies: requests.cookies.RequestsCookieJar, deadline: Deadline
    ) -> requests.Response:
        url = request.url or ""
        settings: Any = self._session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)
        remaining = max(0.001, deadline.remaining())
        timeouts = min(CONNECT_SECONDS, remaining), min(SILENCE_SECONDS, remaining)
        with translated_errors(url, deadline):
            adapter = self._session.get_adapter(url)  # session.send would parse redirects and keep cookies
            response = adapter.send(request, timeout=timeouts, **settings)
            requests.cookies.extract_cookies_to_jar(cookies, request, response.raw)
            return response


def _unsupported(location: str) -> StorageError:
    return StorageError(Reason.NOT_FOUND, f"{location}: only images can be read from the web")


def _host(request: requests.PreparedRequest) -> str:
    """Return the host of a request, with scheme and port."""
    url = urllib.parse.urlsplit(request.url or "")
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def _condition(unless: str | None) -> dict[str, str]:
    if unless is None:
        return {}
    return {"If-None-Match" if unless.startswith(('"', "W/")) else "If-Modified-Since": unless}


def _target(response: requests.Response) -> str | None:
    """Return the target of a redirect; None if the response is not a redirect.

    Most servers send UTF-8, which http.client decodes as Latin-1. Bytes in another encoding are percent-encoded, so
    that the server gets the same bytes back.
    """
    target = response.headers.get("Location") if response.is_redirect else None
    if target is None:
        return None
    data = target.encode("latin-1")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return urllib.parse.quote(data, safe=_ASCII)


def _redirected(url: str, target: str) -> str:
    """Return the absolute URL of a redirect. User and password are kept within one origin, as in browsers.

    Raises:
        StorageError: the target is not an HTTP URL.
    """
    try:
        before, after = urllib.parse.urlsplit(url), urllib.parse.urlsplit(urllib.parse.urljoin(url, target))
        user, at, _ = before.netloc.rpartition("@")
        is_same_host = (after.scheme, after.hostname, after.port) == (before.scheme, before.hostname, before.port)
    except ValueError as error:
        message = f"redirected to {target!r}, which is not a URL: {error}"
        raise StorageError(Reason.NOT_FOUND, message) from error
    if at and is_same_host and "@" not in after.netloc:
        after = after._replace(netloc=f"{user}@{after.netloc}")
    found = after.geturl()
    if scheme(found) not in WEB:
        raise StorageError(Reason.NOT_FOUND, f"redirected to {masked(found)}, which is not on the web")
    return found


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    reason = Reason.READ_FAILED if status == _NOT_MODIFIED else reason_of(status)
    if not reason:
        return
    message = f"HTTP {status} {response.reason or ''}".rstrip()
    if status not in RETRIED_STATUS:
        raise StorageError(reason, message)
    wait = _retry_after(response)
    raise PassingError(message if wait is None else f"{message}, retry after {wait:g} s", RETRIES, wait)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds of a ``Retry-After`` header; None if it is missing or invalid."""
    try:
        return urllib3.Retry().get_retry_after(response.raw)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _announced_size(response: requests.Response, max_bytes: int) -> int | None:
    """Return the announced size in bytes; None if no size is announced.

    For gzip, return at least an estimate of the size after decompression.
    """
    announced = response.headers.get("Content-Length", "")
    if not announced.isdecimal():
        return None
    size = int(announced[:_LENGTH_DIGITS])
    return max(size, min(UNKNOWN_SIZE, max_bytes)) if _gzip_layers(response) else size


def _gzip_layers(response: requests.Response) -> int:
    return gzip_layers(response.headers.get("Content-Encoding"))


def _content(response: requests.Response, max_bytes: int, deadline: Deadline) -> Content:
    """Read the body of a response, never much beyond the size limit and the deadline."""
    layers, body = _gzip_layers(response), bytearray()
    with translated_errors(response.url, deadline):
        while block := response.raw.read1(_BLOCK, decode_content=False):
            body += block
            if len(body) > max_bytes:
                raise too_many_bytes(max_bytes)
            deadline.check()
        deadline.check()  # a body without a length ends with the connection, even if the deadline shut it down
        deadline.let_go()  # another read may reuse the connection now
    data = without_gzip(bytes(body), layers, max_bytes)  # urllib3 accepts truncated gzip
    return Content.of(data, response.headers.get("ETag") or response.headers.get("Last-Modified"))
