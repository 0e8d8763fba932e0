"""``http://`` and ``https://``: read with requests, a few at a time from each host, within a limit of time."""

from __future__ import annotations

import contextlib
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
    is_gzip,
    too_many_bytes,
    without_gzip,
)
from catalogue.storage.web_connections import Adapter
from catalogue.storage.web_errors import RETRIES, PassingError, translated_errors, wait_before

REDIRECTS = 5
_BLOCK = 1 << 16
_OTHER_ENCODINGS = ("deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz")
_NOT_MODIFIED, _LENGTH_DIGITS = 304, 20


class WebStore:
    """See `catalogue.storage.values.Store`, of which the web has only reading.

    The version of an image is its ETag, or the time it was last modified. Redirects are followed here, one by one, so
    that each target can be checked. Cookies are kept for the redirects of one image, and ``~/.netrc`` is not read. A
    user and password in a URL are sent to its host.

    The deadline of a read holds for everything in it: redirects, headers, body, waits, and what is tried again. Only
    the wait for one's turn at the host does not count.
    """

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.auth = lambda request: request  # which keeps ~/.netrc out
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
        """See `Store`. Redirects must lead to where `access` permits, too."""
        with some_deadline() as deadline:
            for retry in itertools.count():
                try:
                    with Route() as route:
                        admission = Admission(admit, max_bytes)
                        return self._follow(location, max_bytes, admission, unless, access, route, deadline)
                except StorageError as error:
                    admit(0)  # who waits, here for the next turn, must hold nothing that others wait for
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
        """Reads an image at the end of its redirects."""
        condition, cookies = _condition(unless), requests.cookies.RequestsCookieJar()
        for redirects in range(REDIRECTS + 1):
            request = self._request(url, condition, cookies)
            target = request.url or ""
            if redirects and access.prefixes and not access.names(target):
                message = f"redirected to {masked(url)}, which is outside everything that --allow-uri names"
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
        """Sends a request. Returns the image, the target of a redirect, or None if the version is still `unless`."""
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
            # It waited too long for memory. Asked again in the same turn, and admitted: it waits for no other.

    def stat(self, location: str) -> Listed | None:
        """On the web every location may be a file."""
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
            adapter = self._session.get_adapter(url)  # the session itself would parse redirects and keep cookies
            response = adapter.send(request, timeout=timeouts, **settings)
            requests.cookies.extract_cookies_to_jar(cookies, request, response.raw)
            return response


def _unsupported(location: str) -> StorageError:
    return StorageError(Reason.NOT_FOUND, f"{location}: from the web only images are read")


def _host(request: requests.PreparedRequest) -> str:
    """The host of a request, with its scheme and port."""
    url = urllib.parse.urlsplit(request.url or "")
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def _condition(unless: str | None) -> dict[str, str]:
    if unless is None:
        return {}
    return {"If-None-Match" if unless.startswith(('"', "W/")) else "If-Modified-Since": unless}


def _target(response: requests.Response) -> str | None:
    """Where a redirect leads; None if the response is not one. Servers send UTF-8, which HTTP takes for Latin-1."""
    target = response.headers.get("Location") if response.is_redirect else None
    if target is not None:
        with contextlib.suppress(UnicodeError):
            target = target.encode("latin-1").decode("utf-8")
    return target


def _redirected(url: str, target: str) -> str:
    """The URL of a redirect; on the same host with the user and password of the one before, as in browsers.

    Raises:
        StorageError: it is not a URL of the web.
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
    raise PassingError(message if wait is None else f"{message}, to be asked again in {wait:g} s", RETRIES, wait)


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of a ``Retry-After``; None without one, or one that makes no sense."""
    try:
        return urllib3.Retry().get_retry_after(response.raw)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _announced_size(response: requests.Response, max_bytes: int) -> int | None:
    """How many bytes come; at least a guess of what they unpack to. None where the server does not say."""
    announced = response.headers.get("Content-Length", "")
    if not announced.isdecimal():
        return None
    size = int(announced[:_LENGTH_DIGITS])
    return max(size, min(UNKNOWN_SIZE, max_bytes)) if is_gzip(response.headers.get("Content-Encoding")) else size


def _content(response: requests.Response, max_bytes: int, deadline: Deadline) -> Content:
    """Reads the body of a response, never much beyond the limits of bytes and of time."""
    encoding, body = response.headers.get("Content-Encoding"), bytearray()
    if (encoding or "").strip().lower() in _OTHER_ENCODINGS:
        raise StorageError(Reason.READ_FAILED, f"Content-Encoding: {encoding}, which was not asked for")
    with translated_errors(response.url, deadline):
        while block := response.raw.read1(_BLOCK, decode_content=False):
            body += block
            if len(body) > max_bytes:
                raise too_many_bytes(max_bytes)
            deadline.check()
        deadline.check()  # a body without a length ends where the connection does, also if that was shut down here
        deadline.let_go()  # another read may have the connection now
    data = without_gzip(bytes(body), max_bytes) if is_gzip(encoding) else bytes(body)  # urllib3 takes one that is cut
    return Content.of(data, response.headers.get("ETag") or response.headers.get("Last-Modified"))
