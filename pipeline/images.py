"""Read and decode images; a failure becomes a dead letter for each line of the manifest that names the image."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.records import DeadLetter, Entry, EntryData, EntryImage
from trainer.model_dir import is_remote
from trainer.preprocessing import ImageError, ImageSpec, Limits, Reason, read_image

_DEAD_LETTERS = "dead_letters"
_client_lock = threading.Lock()


class Outcome(NamedTuple):
    """What a step made of its input: its results, and the images that failed in it."""

    results: beam.PCollection
    dead_letters: beam.PCollection


class OrDeadLetter(beam.PTransform):
    """Applies a function to each element; where it raises ImageError, the element's rows become dead letters.

    Any other exception is a fault of the program and fails the run.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    def expand(self, elements: beam.PCollection) -> Outcome:
        """PCollection of elements to PCollections of results and of `DeadLetter`s."""
        outputs = elements | beam.ParDo(_OrDeadLetterFn(self._function)).with_outputs(_DEAD_LETTERS, main="results")
        return Outcome(outputs.results, outputs[_DEAD_LETTERS])


class _OrDeadLetterFn(beam.DoFn):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def process(self, element: Any) -> Iterator[Any]:
        try:
            result = self._function(element)
        except ImageError as error:
            entry = element if isinstance(element, Entry) else element.entry
            for letter in dead_letters(entry, error):
                yield beam.pvalue.TaggedOutput(_DEAD_LETTERS, letter)
        else:
            yield result


def dead_letters(entry: Entry, error: ImageError) -> list[DeadLetter]:
    """One dead letter for each line of the manifest that names the image."""
    reason = error.reason
    return [DeadLetter(uri, reason.code, reason.transient, error.message, fields) for uri, fields in entry.rows]


def read(entry: Entry, *, limits: Limits) -> EntryData:
    """Reads the bytes of an image. Raises ImageError."""
    return EntryData(entry, read_bytes(entry.location, limits))


def decode(data: EntryData, *, spec: ImageSpec, limits: Limits) -> EntryImage:
    """Decodes the bytes of an image. Raises ImageError."""
    return EntryImage(data.entry, hashlib.sha256(data.data).hexdigest(), read_image(data.data, spec, limits))


def read_bytes(location: str, limits: Limits) -> bytes:
    """Reads a whole file or object, but never much more than `limits.max_bytes` of it.

    Objects of ``gs://`` are read with google-cloud-storage, everything else through Beam's file systems.

    Raises:
        ImageError: it cannot be read, with the reason.
    """
    data = _read_object(location, limits) if location.startswith("gs://") else _read_file(location, limits)
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(limits)
    return data


def _too_many_bytes(limits: Limits) -> ImageError:
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
    except ValueError as error:  # no file system for this scheme, or a path that cannot be one
        raise ImageError(Reason.NOT_FOUND, str(error)) from error


class _Bounded(io.BytesIO):
    """A buffer that refuses to grow beyond the limit, whatever size a server announces."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def write(self, block: Any) -> int:
        if self.tell() + len(block) > self._limits.max_bytes:
            raise _too_many_bytes(self._limits)
        return super().write(block)


def _read_object(location: str, limits: Limits) -> bytes:
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage
    from google.cloud.storage.exceptions import DataCorruption

    buffer = _Bounded(limits)
    try:
        storage.Blob.from_uri(location).download_to_file(buffer, client=_storage_client())
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


def _storage_client() -> Any:
    """The process's one client for ``gs://``, with its own connection pool and retries; safe to use from any thread."""
    with _client_lock:
        return _make_storage_client()


@functools.cache
def _make_storage_client() -> Any:
    from google.cloud import storage

    return storage.Client(project=None)
