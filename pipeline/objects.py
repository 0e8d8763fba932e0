"""Objects of object stores over HTTP: one GET each, many at a time, in one event loop of the process.

What the stores' own clients do for an object takes as long as decoding a photo, in Python; and threads that each wait
for an object take turns with those that decode.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError

import aiohttp
from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry
from google.auth.exceptions import TransportError
from multidict import CIMultiDictProxy
from yarl import URL

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import answers, event_loop
from pipeline.proxies import proxy_for

CONNECTIONS = 64
RETRY_SECONDS = 30.0
_ERROR_BYTES = 4096

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
        async with _answer(*await request()) as response:
            await _check(response, refusal)
            await admit(answers.expected_size(response.content_length, limits))
            body = answers.Body(limits)
            async for block in response.content.iter_any():
                body.add(block)
            data = bytes(body)
            if not is_intact(data, response.headers):
                raise _ChangedError("the checksum does not fit: the object was changed on its way")
            return data

    retry = AsyncRetry(_is_transient, initial=0.5, maximum=16.0, timeout=RETRY_SECONDS)
    try:
        return await retry(attempt)()
    except RetryError as error:
        raise ImageError(Reason.READ_FAILED, str(error.cause)) from error
    except aiohttp.ClientHttpProxyError as error:
        reason = answers.reason_of(error.status) or Reason.READ_FAILED
        raise ImageError(reason, f"the proxy says HTTP {error.status} {error.message}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def _answer(text: str, headers: Mapping[str, str]) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
    """Asks for an object, by a proxy if the environment names one."""
    url = URL(text, encoded=True)
    proxy = proxy_for(url.scheme, url.authority)
    if proxy and url.scheme == "http":  # the proxy reads the request itself; aiohttp leaves out what is its
        headers = {**headers, **proxy.headers}
    return connections().get(
        url,
        headers=headers,
        allow_redirects=False,
        proxy=proxy.url if proxy else None,
        proxy_headers=proxy.headers if proxy else None,
    )


async def _check(response: aiohttp.ClientResponse, refusal: Callable[[bytes], str]) -> None:
    """Raises what an answer without an object means: ImageError, or ClientResponseError if it is asked for again."""
    if response.status in answers.RETRIED_STATUS:
        response.raise_for_status()
    reason = answers.reason_of(response.status)
    if reason:
        why = refusal(await response.content.read(_ERROR_BYTES))
        message = f"HTTP {response.status} {response.reason or ''} {why}".rstrip()
        raise ImageError(Reason.PERMISSION_DENIED if why else reason, message)


class _ChangedError(Exception):
    pass


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may go well later. Source: https://cloud.google.com/storage/docs/retry-strategy"""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status in answers.RETRIED_STATUS
    kinds = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError, TransportError, _ChangedError)
    return isinstance(error, kinds) and not isinstance(error, aiohttp.InvalidURL)


@functools.cache
def connections() -> aiohttp.ClientSession:
    """The process's connections, which are kept to its end; for one event loop."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(None, sock_connect=answers.CONNECT_SECONDS, sock_read=answers.READ_SECONDS),
        headers={"Accept-Encoding": "identity"},  # what is stored packed is unpacked before it comes
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    atexit.register(_close, session)
    return session


def _close(session: aiohttp.ClientSession) -> None:
    with contextlib.suppress(TimeoutError, FutureTimeoutError):
        event_loop.submit(session.close()).result(1.0)
