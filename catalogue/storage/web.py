"""``http://`` and ``https://``: read with requests: time-outs, few connections to each host, bounded retries."""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any, BinaryIO

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL, MissingSchema, RequestException
from urllib3.exceptions import HTTPError

from catalogue.cli.masking import masked
from catalogue.reasons import Reason, StorageError
from catalogue.storage.http_status import BODY_SECONDS, CONNECT_SECONDS, READ_SECONDS, RETRIED_STATUS, reason_of
from catalogue.storage.paths import WEB, scheme
from catalogue.storage.values import Admission, Admit, Content, Listed, too_many_bytes

CONNECTIONS_PER_HOST = 4
REDIRECTS = 5
RETRIES, BACKOFF_SECONDS, RETRY_AFTER_SECONDS = 3, 0.5, 20
_BLOCK = 1 << 16
_NOT_MODIFIED, _LENGTH_DIGITS = 304, 20


class WebStore:
    """See `catalogue.storage.values.Store`, of which the web has only reading.

    The version of an image is its ETag, or the time it was last modified. Redirects are followed here, one by one, so
    that each target can be checked. Cookies are kept for the redirects of one image, and ``~/.netrc`` is not read. A
    user and password in a URL are sent to its host.
    """

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.auth = lambda request: request  # which keeps ~/.netrc out
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers = requests.structures.CaseInsensitiveDict(
            {
                "User-Agent": f"catalogue-classifier/{metadata.version('catalogue-classifier')}",
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "gzip, deflate",
            }
        )
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, _adapter())

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None) -> Content | None:
        """See `Store`."""
        url, condition, admission = location, _condition(unless), Admission(admit, max_bytes)
        redirects, cookies = 0, requests.cookies.RequestsCookieJar()
        while redirects <= REDIRECTS:
            with self._answer(url, condition, cookies) as response:
                target = _target(response)
                if target is None:
                    if response.status_code == _NOT_MODIFIED and unless is not None:
                        return None
                    _check_status(response)
                    if not admission.is_fresh_after(_announced_size(response)):
                        continue
                    return _content(response, max_bytes)
            redirects += 1
            try:
                url = _redirected(url, target)
            except ValueError as error:
                raise StorageError(
                    Reason.NOT_FOUND, f"redirected to {target!r}, which is not a URL: {error}"
                ) from error
            if scheme(url) not in WEB:
                raise StorageError(Reason.NOT_FOUND, f"redirected to {masked(url)}, which is not on the web")
        raise StorageError(Reason.NOT_FOUND, f"more than {REDIRECTS} redirects")

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

    def _answer(
        self, url: str, headers: dict[str, str], cookies: requests.cookies.RequestsCookieJar
    ) -> requests.Response:
        with _translated_errors(url):
            user, password = requests.utils.get_auth_from_url(url)
            auth = (user, password) if user or password else None
            asked = requests.Request("GET", url, headers=headers, cookies=cookies, auth=auth)
            request = self._session.prepare_request(asked)
            settings: Any = self._session.merge_environment_settings(
                request.url, {}, stream=True, verify=None, cert=None
            )
        with _translated_errors(url, value_error=Reason.READ_FAILED):  # such as of a header that cannot be parsed
            adapter = self._session.get_adapter(url)  # the session itself would parse redirects and keep cookies
            response = adapter.send(request, timeout=(CONNECT_SECONDS, READ_SECONDS), **settings)
            requests.cookies.extract_cookies_to_jar(cookies, request, response.raw)
            return response


def _unsupported(location: str) -> StorageError:
    return StorageError(Reason.NOT_FOUND, f"{location}: from the web only images are read")


def _adapter() -> HTTPAdapter:
    """A pool of connections by each host or proxy; a thread that finds all those to a host in use waits."""
    retries = urllib3.Retry(
        total=RETRIES,
        connect=1,
        read=1,
        status=RETRIES,
        other=RETRIES,
        redirect=0,
        status_forcelist=RETRIED_STATUS,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=RETRY_AFTER_SECONDS,
        retry_after_max=RETRY_AFTER_SECONDS,
        raise_on_status=False,
    )
    return HTTPAdapter(pool_connections=64, pool_maxsize=CONNECTIONS_PER_HOST, pool_block=True, max_retries=retries)


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
    """The URL of a redirect; on the same host with the user and password of the one before, as in browsers."""
    before, after = urllib.parse.urlsplit(url), urllib.parse.urlsplit(urllib.parse.urljoin(url, target))
    user, at, _ = before.netloc.rpartition("@")
    is_same_host = (after.scheme, after.hostname, after.port) == (before.scheme, before.hostname, before.port)
    if at and is_same_host and "@" not in after.netloc:
        after = after._replace(netloc=f"{user}@{after.netloc}")
    return after.geturl()


def _check_status(response: requests.Response) -> None:
    reason = Reason.READ_FAILED if response.status_code == _NOT_MODIFIED else reason_of(response.status_code)
    if reason:
        raise StorageError(reason, f"HTTP {response.status_code} {response.reason or ''}".rstrip())


def _announced_size(response: requests.Response) -> int | None:
    announced = response.headers.get("Content-Length", "")
    return int(announced[:_LENGTH_DIGITS]) if announced.isdecimal() else None


def _content(response: requests.Response, max_bytes: int) -> Content:
    """Reads the body of a response, never much beyond the limits of bytes and of time."""
    deadline, data = time.monotonic() + BODY_SECONDS, bytearray()
    with _translated_errors(response.url, value_error=Reason.READ_FAILED):
        while block := response.raw.read1(_BLOCK, decode_content=True):
            data += block
            if len(data) > max_bytes:
                raise too_many_bytes(max_bytes)
            if time.monotonic() > deadline:
                raise StorageError(Reason.READ_FAILED, f"not read whole in {BODY_SECONDS:.0f} s")
    return Content.of(bytes(data), response.headers.get("ETag") or response.headers.get("Last-Modified"))


@contextlib.contextmanager
def _translated_errors(url: str, value_error: Reason = Reason.NOT_FOUND) -> Iterator[None]:
    """Turns the errors of requests and urllib3 into `StorageError`s; a ValueError into one of the given reason."""
    try:
        yield
    except InvalidProxyURL as error:
        raise StorageError(Reason.READ_FAILED, f"the proxy is not one for {scheme(url)}://: {error}") from error
    except (InvalidURL, InvalidSchema, MissingSchema, UnicodeError) as error:
        if "SOCKS" in str(error):
            message = f"a SOCKS proxy cannot be used: set {scheme(url)}_proxy to http://HOST:PORT"
            raise StorageError(Reason.READ_FAILED, message) from error
        raise StorageError(Reason.NOT_FOUND, f"{masked(url)!r} is not a URL: {error}") from error
    except (RequestException, HTTPError, OSError) as error:
        raise StorageError(Reason.READ_FAILED, str(_cause(error))) from error
    except ValueError as error:
        words = f"{masked(url)!r} is not a URL" if value_error is Reason.NOT_FOUND else "the answer cannot be read"
        raise StorageError(value_error, f"{words}: {error}") from error


def _cause(error: BaseException) -> BaseException:
    """The error within the errors that requests and urllib3 wrap around it."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None)
    return reason if isinstance(reason, BaseException) else error
