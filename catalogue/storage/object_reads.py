"""Object store reads through obstore, shared by ``gs://``, ``s3://`` and Azure.

obstore's synchronous ``get`` uses a fifth of the CPU time of the vendors' clients (see `benchmarks.slow_storage`). It
signs requests, retries, and honors the proxy environment variables. It treats the key ``/a`` as ``a``, so such keys
are read with the vendor's client, or rejected on Azure, see `is_plain`.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotModifiedError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from catalogue.reasons import Reason, StorageError
from catalogue.storage.content_encoding import gzip_layers, without_gzip
from catalogue.storage.deadline import READ_SECONDS
from catalogue.storage.http_status import CONNECT_SECONDS, SILENCE_SECONDS, reason_of
from catalogue.storage.paths import split
from catalogue.storage.values import (
    UNKNOWN_SIZE,
    Admission,
    Admit,
    Content,
    Listed,
    too_many_bytes,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# A read ends within `READ_SECONDS`: the last attempt starts within the retry timeout plus one backoff.
_RETRY_SECONDS, _BACKOFF_SECONDS = 30.0, 8.0
_REQUEST_SECONDS = READ_SECONDS - _RETRY_SECONDS - _BACKOFF_SECONDS
CLIENT_OPTIONS: ClientConfig = {
    "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
    "read_timeout": timedelta(seconds=SILENCE_SECONDS),
    "timeout": timedelta(seconds=_REQUEST_SECONDS),
    "pool_max_idle_per_host": "64",
}
RETRY: RetryConfig = {
    "max_retries": 10,
    "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=_BACKOFF_SECONDS), "base": 2},
}
_BLOCK = 4 << 20
_BUCKET = re.compile(r"[A-Za-z0-9._-]+(@[A-Za-z0-9.-]+)?")  # obstore does not quote bucket names
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STATUS = re.compile(r"status code: (\d{3})")
# S3 error codes for HTTP 400 responses that reject the credentials, not the object.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_REFUSED = re.compile(r"<Code>[A-Za-z]*(?:Token|Signature|Authorization|AccessKey)[A-Za-z]*</Code>")

VersionOf = Callable[[Any], "str | None"]


def client_options(endpoint: str | None) -> ClientConfig:
    """Return the HTTP client options of a store. Plain HTTP is allowed if the endpoint uses it, as test servers do."""
    return {**CLIENT_OPTIONS, "allow_http": bool(endpoint and endpoint.startswith("http://"))}


class Credentials:
    """Credential provider for obstore that keeps its last error, since obstore's own error omits the cause.

    Args:
        provider: obstore credential provider.
        translated_errors: context manager that translates the provider's errors into `StorageError`s.
    """

    def __init__(
        self, provider: Callable[[], Any], translated_errors: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._provider, self._translated_errors = provider, translated_errors
        self._error: StorageError | None = None

    def __call__(self) -> Any:
        """Return credentials in obstore's format."""
        try:
            with self._translated_errors():
                credentials = self._provider()
        except StorageError as error:
            self._error = error
            raise
        self._error = None
        return credentials

    def error(self) -> StorageError | None:
        """Return the error of the last call; None if it succeeded."""
        return self._error


def named(location: str) -> tuple[str, str]:
    """Split an object's location into its bucket (or container) and key.

    Raises:
        StorageError: the location does not name an object.
    """
    bucket, key = split(location)
    if not key or not _BUCKET.fullmatch(bucket):
        raise StorageError(Reason.NOT_FOUND, f"{location} does not name an object")
    return bucket, key


def folder_of(location: str) -> tuple[str, str]:
    """Split a folder's location into its bucket (or container) and key prefix.

    Raises:
        StorageError: the location does not name a bucket.
    """
    bucket, prefix = split(location.rstrip("/") + "/")
    if not _BUCKET.fullmatch(bucket):
        raise StorageError(Reason.NOT_FOUND, f"{location} does not name a bucket")
    return bucket, prefix


def is_plain(key: str) -> bool:
    """Return whether obstore can address a key: no control characters, and no segment is empty, ``.`` or ``..``."""
    return not _CONTROL.search(key) and not any(segment in ("", ".", "..") for segment in key.split("/"))


class ObjectReads:
    """Reader for one bucket.

    Args:
        store: obstore store of the bucket.
        version_of: function that extracts the version from an object's metadata.
        credential_error: function that returns the error of the last credential request; None if it succeeded.
    """

    def __init__(
        self, store: Any, version_of: VersionOf, credential_error: Callable[[], StorageError | None] = lambda: None
    ) -> None:
        self._store, self._version_of, self._credential_error = store, version_of, credential_error

    def read(self, key: str, max_bytes: int, admit: Admit, if_none_match: str | None = None) -> Content | None:
        """Read a whole object and undo a ``Content-Encoding`` of gzip. Return None if its ETag is `if_none_match`."""
        options: Any = {"if_none_match": if_none_match} if if_none_match is not None else None
        admission = Admission(admit, max_bytes)
        with self.translated_errors():
            while True:
                try:
                    result = obstore.get(self._store, key, options=options)
                except NotModifiedError:
                    if if_none_match is None:  # an unsolicited 304 from a cache
                        raise
                    return None
                layers = gzip_layers(result.attributes.get("Content-Encoding"))
                size = result.meta["size"]
                if admission.is_fresh_after(max(size, min(UNKNOWN_SIZE, max_bytes)) if layers else size):
                    break
            data = bytes(result.bytes())
        data = without_gzip(data, layers, max_bytes)
        if len(data) > max_bytes:
            raise too_many_bytes(max_bytes)
        return Content.of(data, self._version_of(result.meta))

    def stat(self, key: str, location: str) -> Listed | None:
        """Return size and version of an object; None if it does not exist."""
        with self.translated_errors():
            try:
                meta = obstore.head(self._store, key)
            except FileNotFoundError:
                return None
            return Listed(location, meta["size"], self._version_of(meta))

    def open(self, key: str, location: str) -> BinaryIO:
        """Open an object as a seekable file."""
        found = self.stat(key, location)
        if found is None or found.size is None:
            raise StorageError(Reason.NOT_FOUND, f"{location} does not exist")
        return io.BufferedReader(_Ranges(self, key, found), _BLOCK)

    def range(self, key: str, start: int, end: int, version: str | None) -> bytes:
        """Read bytes [`start`, `end`) of an object. Raise StorageError if its version is not `version`."""
        with self.translated_errors():
            result = obstore.get(self._store, key, options={"range": (start, end)})
            if self._version_of(result.meta) != version:
                raise StorageError(Reason.READ_FAILED, f"{key} changed while it was being read")
            return bytes(result.bytes())

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Translate obstore's errors into `StorageError`s."""
        try:
            yield
        except FileNotFoundError as error:
            raise StorageError(Reason.NOT_FOUND, _short(error)) from error
        except (InvalidPathError, ValueError) as error:
            raise StorageError(Reason.NOT_FOUND, _short(error)) from error
        except (BaseError, OSError) as error:
            raise self._credential_error() or StorageError(_reason_of(error), _short(error)) from error


class _Ranges(io.RawIOBase):
    """Seekable raw file that reads an object in ranges."""

    def __init__(self, reads: ObjectReads, key: str, found: Listed) -> None:
        self._reads, self._key, self._version = reads, key, found.version
        self._size, self._position = found.size or 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._reads.range(self._key, self._position, end, self._version)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _reason_of(error: BaseException) -> Reason:
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _REFUSED.search(str(error)):
        return Reason.PERMISSION_DENIED
    status = _STATUS.search(str(error))
    return (reason_of(int(status[1])) if status else None) or Reason.READ_FAILED


def _short(error: BaseException) -> str:
    """Return the first line of obstore's message, without the debug output that follows."""
    return str(error).split("\n", 1)[0].strip()
