"""Where the bytes of images are: local files, ``gs://``, ``s3://``, ``http(s)://``, and whatever else Beam can read.

One client for each kind of store in a process, shared by its threads. Nothing is read far beyond the limit of bytes,
whatever size a server announces.
"""

from __future__ import annotations

import functools
import io
import os
import stat
import threading
from collections.abc import Callable
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline import storage, web
from trainer.files import is_remote
from trainer.preprocessing import ImageError, Limits, Reason

_lock = threading.Lock()


def read_bytes(location: str, limits: Limits) -> bytes:
    """Reads a whole file or object, but never much more than `limits.max_bytes` of it.

    Raises:
        ImageError: it cannot be read, with the reason.
        UserError: reading it needs an extra that is not installed.
    """
    scheme = location.partition("://")[0] if is_remote(location) else ""
    data = _READERS.get(scheme, _read_file)(location, limits)
    if len(data) > limits.max_bytes:
        raise too_many_bytes(limits)
    return data


def too_many_bytes(limits: Limits) -> ImageError:
    """The error for a file above the limit."""
    return ImageError(Reason.TOO_MANY_BYTES, f"more than {limits.max_bytes:,} bytes")


def _read_file(location: str, limits: Limits) -> bytes:
    try:
        if not is_remote(location) and not stat.S_ISREG(os.stat(location).st_mode):
            raise ImageError(Reason.NOT_FOUND, f"{location} is no file but a folder, a pipe or a device")
        with FileSystems.open(location, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (OSError, BeamIOError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:
        scheme = location.partition("://")[0]
        why = f"{scheme}:// is not read here" if is_remote(location) else str(error)
        raise ImageError(Reason.NOT_FOUND, why) from error


class _Bounded(io.BytesIO):
    """A buffer that refuses to grow beyond the limit."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def write(self, block: Any) -> int:
        if self.tell() + len(block) > self._limits.max_bytes:
            raise too_many_bytes(self._limits)
        return super().write(block)


def _read_google(location: str, limits: Limits) -> bytes:
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage import Blob
    from google.cloud.storage.exceptions import DataCorruption

    buffer = _Bounded(limits)
    try:
        Blob.from_uri(location).download_to_file(buffer, client=_once(_google_client))
    except exceptions.NotFound as error:
        raise ImageError(Reason.NOT_FOUND, error.message) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise ImageError(Reason.PERMISSION_DENIED, error.message) from error
    except GoogleAuthError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except ValueError as error:
        raise ImageError(Reason.NOT_FOUND, f"{location} names no object: {error}") from error
    except (exceptions.GoogleAPIError, requests.RequestException, DataCorruption, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    return buffer.getvalue()


def _read_amazon(location: str, limits: Limits) -> bytes:
    storage.check(location)
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        body = _once(storage.amazon_client).get_object(Bucket=bucket, Key=key)["Body"]
        with body:
            return body.read(limits.max_bytes + 1)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise ImageError(web.reason_of(status) or Reason.READ_FAILED, str(error)) from error
    except NoCredentialsError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except ParamValidationError as error:
        raise ImageError(Reason.NOT_FOUND, f"{location} names no object: {error}") from error
    except (BotoCoreError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def _read_web(location: str, limits: Limits) -> bytes:
    return web.read(location, limits)


_READERS = {"gs": _read_google, "s3": _read_amazon, "http": _read_web, "https": _read_web}


def _once(make: Callable[[], Any]) -> Any:
    """The process's one client; threads that come at the same time wait for the first to make it."""
    with _lock:
        return make()


@functools.cache
def _google_client() -> Any:
    from google.cloud import storage

    return storage.Client(project=None)
