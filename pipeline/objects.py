"""Objects of object stores over HTTP: one GET each, many at a time, in one event loop of the process.

What the stores' own clients do for an object takes as long as decoding a photo, in Python; and threads that each wait
for an object take turns with those that decode.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError

import aiohttp
from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry
from google.auth.exceptions import TransportError
from multidict import CIMultiDictProxy
from yarl import URL

from pipeline import event_loop, web
from pipeline.proxies import proxy_for
from trainer.preprocessing import ImageError, Limits, Reason

CONNECTIONS = 64
RETRY_SECONDS = 30.0
_ERROR_BYTES = 4096
_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)

Admit = Callable[[int], Awaitable[None]]
Headers = CIMultiDictProxy[str]


async def get(
    request: Callable[[], Awaitable[tuple[str, Mapping[str, str]]]],
    is_intact: Callable[[bytes, Headers], bool],
    limits: Limits,
    admit: Admit,
    refusal: Callable[[bytes], str] = lambda body: "",
) -> bytes:
    """Reads an object; always in the same event loop of a process.

    Args:
        request: gives the URL, with everything quoted that must be, and the headers; asked for each attempt.
        is_intact: whether what came fits the checksums that the headers hold.
        limits: what is too large.
        admit: is told how many bytes come, and returns when there is room for them.
        refusal: what in the body of an error says that it is no fault of the object but of who asks; empty if not.

    Raises:
        ImageError: with the reason.
    """

    async def attempt() -> bytes:
        text, headers = await request()
        url = URL(text, encoded=True)
        proxy = proxy_for(url.scheme, url.authority)
        if proxy and url.scheme == "http":  # the proxy reads the request itself; aiohttp leaves out what is its
            headers = {**headers, **proxy.headers}
        async with connections().get(
            url,
            headers=headers,
            allow_redirects=False,
            proxy=proxy.url if proxy else None,
            proxy_headers=proxy.headers if proxy else None,
        ) as response:
            if response.status in _RETRIED_STATUS:
                response.raise_for_status()
            reason = web.reason_of(response.status)
            if reason:
                why = refusal(await response.content.read(_ERROR_BYTES))
                message = f"HTTP {response.status} {response.reason or ''} {why}".rstrip()
                raise ImageError(Reason.PERMISSION_DENIED if why else reason, message)
            data = await _body(response, limits, admit)
            if not is_intact(data, response.headers):
                raise _ChangedError("the checksum does not fit: the object was changed on its way")
            return data

    retry = AsyncRetry(_is_transient, initial=0.5, maximum=16.0, timeout=RETRY_SECONDS)
    try:
        return await retry(attempt)()
    except RetryError as error:
        raise ImageError(Reason.READ_FAILED, str(error.cause)) from error
    except aiohttp.ClientHttpProxyError as error:
        reason = web.reason_of(error.status) or Reason.READ_FAILED
        raise ImageError(reason, f"the proxy says HTTP {error.status} {error.message}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


async def _body(response: aiohttp.ClientResponse, limits: Limits, admit: Admit) -> bytes:
    """What an answer holds, never much beyond the limit of bytes."""
    announced = response.content_length
    size = min(web.UNKNOWN_SIZE, limits.max_bytes) if announced is None else announced
    if size <= limits.max_bytes:
        await admit(size)
        deadline = time.monotonic() + web.BODY_SECONDS
        found = bytearray()
        async for block in response.content.iter_any():
            found += block
            if len(found) > limits.max_bytes:
                break
            if time.monotonic() > deadline:
                raise ImageError(Reason.READ_FAILED, f"not read whole in {web.BODY_SECONDS:.0f} s")
        else:
            return bytes(found)
    raise ImageError(Reason.TOO_MANY_BYTES, f"more than {limits.max_bytes:,} bytes")


class _ChangedError(Exception):
    pass


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may go well later. Source: https://cloud.google.com/storage/docs/retry-strategy"""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status in _RETRIED_STATUS
    kinds = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError, TransportError, _ChangedError)
    return isinstance(error, kinds) and not isinstance(error, aiohttp.InvalidURL)


@functools.cache
def connections() -> aiohttp.ClientSession:
    """The process's connections, which are kept to its end; for one event loop."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(None, sock_connect=web.CONNECT_SECONDS, sock_read=web.READ_SECONDS),
        headers={"Accept-Encoding": "identity"},  # what is stored packed is unpacked before it comes
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    atexit.register(_close, session)
    return session


def _close(session: aiohttp.ClientSession) -> None:
    with contextlib.suppress(TimeoutError, FutureTimeoutError):
        event_loop.submit(session.close()).result(1.0)
