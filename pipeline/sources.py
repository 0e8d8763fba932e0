"""Where the bytes of images are: local files, ``gs://``, ``s3://``, ``http(s)://``, and whatever else Beam can read.

One client for each kind of store in a process, shared by its threads, or in an event loop, see `is_awaited`. Nothing is
read far beyond the limit of bytes, whatever size a server announces.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from catalogue.images.reader import ImageError, Limits, Reason
from catalogue.storage.files import is_remote
from pipeline import amazon_storage, answers, google_storage, objects, web

Admit = Callable[[int], None]


def _admit_all(size: int) -> None:
    pass


def is_awaited(location: str) -> bool:
    """Whether it is `read_async` that reads it, not `read_bytes`."""
    return _scheme(location) in _ASYNCHRONOUS


async def read_async(location: str, limits: Limits, admit: objects.Admit) -> bytes:
    """`read_bytes` for what is read in an event loop, always the same in a process."""
    return await _ASYNCHRONOUS[_scheme(location)](location, limits, admit)


def _scheme(location: str) -> str:
    return location.partition("://")[0]


def read_bytes(location: str, limits: Limits, admit: Admit = _admit_all) -> bytes:
    """Reads a whole file or object, but never much more than `limits.max_bytes` of it.

    Args:
        location: a local path or a URI.
        limits: what is too large.
        admit: is told how many bytes come before they are read, as far as that is known, and returns when there is room
            for them. Where an answer has to be asked for again, it is told again.

    Raises:
        ImageError: it cannot be read, with the reason.
        UserError: reading it needs an extra that is not installed.
    """
    if is_remote(location):
        data = _READERS.get(_scheme(location), _read_with_beam)(location, limits, admit)
    else:
        data = _read_file(location, limits, admit)
    if len(data) > limits.max_bytes:
        raise answers.too_many_bytes(limits)
    return data


def _read_file(path: str, limits: Limits, admit: Admit) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(Reason.NOT_FOUND, f"{path} is no file but a folder, a pipe or a device")
        admit(min(status.st_size, limits.max_bytes + 1))
        with open(path, "rb", buffering=0) as file:
            return _whole(file, limits)
    except FileNotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except OSError as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:  # a zero byte in the path
        raise ImageError(Reason.NOT_FOUND, str(error)) from error


def _whole(file: io.FileIO, limits: Limits) -> bytes:
    """All of a file, or a little more than the limit; one call may give less than what is asked for."""
    data = file.read(limits.max_bytes + 1) or b""
    while data and len(data) <= limits.max_bytes and (more := file.read(limits.max_bytes + 1 - len(data))):
        data += more
    return data


def _read_with_beam(location: str, limits: Limits, admit: Admit) -> bytes:
    admit(answers.UNKNOWN_SIZE)
    try:
        with FileSystems.open(location, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (OSError, BeamIOError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:
        raise ImageError(Reason.NOT_FOUND, f"{_scheme(location)}:// is not read here") from error


_READERS = {"http": web.read, "https": web.read}
_ASYNCHRONOUS = {"gs": google_storage.read, "s3": amazon_storage.read}
