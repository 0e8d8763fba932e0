"""Images on the web: read with time-outs, within the limit of bytes, and with a few connections to each host only."""

from __future__ import annotations

import functools
import threading
import urllib.parse
from collections.abc import Callable
from importlib import metadata
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, LocationValueError, MaxRetryError

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import answers
from pipeline.proxies import Proxy, proxy_for

CONNECTIONS_PER_HOST = 4
REDIRECTS = 5
RETRIES, BACKOFF_SECONDS, RETRY_AFTER_SECONDS = 3, 0.5, 20
_BLOCK = 1 << 16
_lock = threading.Lock()


def read(url: str, limits: Limits, admit: Callable[[int], None]) -> bytes:
    """Reads what a URL leads to.

    Args:
        url: ``http://`` or ``https://``.
        limits: what is too large.
        admit: is told how many bytes come, and returns when there is room for them.

    Raises:
        ImageError: with the reason.
    """
    for _ in range(REDIRECTS + 1):
        response = _answer(url)
        try:
            where = response.get_redirect_location()
            if not where:
                return _body(response, limits, admit)
            url = urllib.parse.urljoin(url, where)
        except ValueError as error:
            raise ImageError(Reason.NOT_FOUND, f"redirected to what is no URL: {error}") from error
        except (HTTPError, OSError) as error:
            raise ImageError(Reason.READ_FAILED, str(error)) from error
        finally:
            response.close()
            response.release_conn()  # its place in the pool, for the next one
        if not url.lower().startswith(("http://", "https://")):
            raise ImageError(Reason.NOT_FOUND, f"redirected to {url}, which is not on the web")
    raise ImageError(Reason.NOT_FOUND, f"more than {REDIRECTS} redirects")


def _answer(url: str) -> urllib3.BaseHTTPResponse:
    try:
        parts = urllib.parse.urlsplit(url)
        proxy = proxy_for(parts.scheme, parts.netloc.rpartition("@")[2])
        with _lock:  # or threads that come at the same time would make a pool each
            pool = _pool(proxy)
        return pool.request("GET", url, preload_content=False, redirect=False)
    except (LocationParseError, LocationValueError, ValueError) as error:
        raise ImageError(Reason.NOT_FOUND, f"{url} is no URL: {error}") from error
    except MaxRetryError as error:
        raise ImageError(Reason.READ_FAILED, str(error.reason)) from error
    except (HTTPError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def _body(response: urllib3.BaseHTTPResponse, limits: Limits, admit: Callable[[int], None]) -> bytes:
    """Reads what a server answers with, never much beyond the limit of bytes.

    Raises:
        ImageError: its status says that it is no image, it is too large, or it takes too long.
    """
    reason = answers.reason_of(response.status)
    if reason:
        raise ImageError(reason, f"HTTP {response.status} {response.reason or ''}".rstrip())
    announced = response.headers.get("Content-Length", "")
    admit(answers.expected_size(int(announced) if announced.isdecimal() else None, limits))
    found = answers.Body(limits)
    while block := response.read1(_BLOCK):
        found.add(block)
    return bytes(found)


@functools.cache
def _pool(proxy: Proxy | None) -> urllib3.PoolManager:
    """The process's connections by a proxy, or by none; a thread that finds all those to a host in use waits."""
    retries = urllib3.Retry(
        total=RETRIES,
        connect=1,
        read=1,
        status=RETRIES,
        other=RETRIES,
        redirect=0,
        status_forcelist=answers.RETRIED_STATUS,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=RETRY_AFTER_SECONDS,
        retry_after_max=RETRY_AFTER_SECONDS,
        raise_on_status=False,
    )
    options: dict[str, Any] = {
        "num_pools": 64,
        "maxsize": CONNECTIONS_PER_HOST,
        "block": True,
        "retries": retries,
        "timeout": urllib3.Timeout(connect=answers.CONNECT_SECONDS, read=answers.READ_SECONDS),
        "headers": {
            "User-Agent": f"catalogue-classifier/{metadata.version('catalogue-classifier')}",
            "Accept": "image/*,*/*;q=0.5",
        },
    }
    if proxy:
        return urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
    return urllib3.PoolManager(**options)
