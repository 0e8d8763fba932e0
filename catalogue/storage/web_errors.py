"""Errors of web reads: their translation into `StorageError`s, and which of them are retried."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import requests
import urllib3
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL, MissingSchema, RequestException
from urllib3.exceptions import HTTPError, NewConnectionError

from catalogue.cli.masking import masked
from catalogue.reasons import Reason, StorageError
from catalogue.storage.deadline import Deadline, TimedOut
from catalogue.storage.paths import scheme

RETRIES, BACKOFF_SECONDS = 3, 0.5


class PassingError(StorageError):
    """Transient error.

    Attributes:
        retries: maximum number of retries.
        wait: seconds to wait according to the server's Retry-After header; None without a valid header.
    """

    def __init__(self, message: str, retries: int, wait: float | None = None) -> None:
        super().__init__(Reason.READ_FAILED, message)
        self.retries, self.wait = retries, wait


def wait_before(error: StorageError, retry: int) -> float | None:
    """Return the backoff in seconds before the next retry; None if there is no further retry.

    Args:
        error: error of the last attempt.
        retry: number of retries so far.
    """
    retries = error.retries if isinstance(error, PassingError) else 1 if isinstance(error, TimedOut) else 0
    if retry >= retries:
        return None
    asked = error.wait if isinstance(error, PassingError) else None
    return BACKOFF_SECONDS * 2**retry if asked is None else asked


@contextlib.contextmanager
def translated_errors(url: str, deadline: Deadline | None = None) -> Iterator[None]:
    """Translate the errors of requests and urllib3 into `StorageError`s.

    Args:
        url: URL of the request.
        deadline: deadline of the read; None while the request is prepared, when a ValueError means an invalid URL.
    """
    try:
        yield
    except InvalidProxyURL as error:
        raise StorageError(Reason.READ_FAILED, f"the proxy for {scheme(url)}:// is not valid: {error}") from error
    except (InvalidURL, InvalidSchema, MissingSchema, UnicodeError) as error:
        if "SOCKS" in str(error):
            message = f"SOCKS proxies are not supported: set {scheme(url)}_proxy to http://HOST:PORT"
            raise StorageError(Reason.READ_FAILED, message) from error
        raise StorageError(Reason.NOT_FOUND, f"{masked(url)!r} is not a URL: {error}") from error
    except (RequestException, HTTPError, OSError) as error:
        raise _passing(error, deadline) from error
    except ValueError as error:  # such as a malformed header
        if deadline is None:
            raise StorageError(Reason.NOT_FOUND, f"{masked(url)!r} is not a URL: {error}") from error
        deadline.check()
        raise StorageError(Reason.READ_FAILED, f"the response cannot be read: {error}") from error


def _passing(error: Exception, deadline: Deadline | None) -> StorageError:
    if deadline is not None and deadline.remaining() <= 0:
        return deadline.timed_out()
    cause = _cause(error)
    message = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return TimedOut(Reason.READ_FAILED, message)
    if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, http.client.RemoteDisconnected):
        return PassingError("the response is not HTTP", RETRIES)
    if isinstance(cause, NewConnectionError):
        return PassingError(f"cannot connect: {cause.__cause__ or cause}", retries=1)
    return PassingError(message, retries=1 if isinstance(error, requests.exceptions.SSLError) else RETRIES)


def _cause(error: BaseException) -> BaseException:
    """Return the root cause of an error that requests and urllib3 have wrapped."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _cause(inner)
    return error
