"""Store for ``gs://``.

Objects are read with obstore. Listing, writing, copying and deleting, and reading keys that obstore cannot address, use
google-cloud-storage. Credentials are Application Default Credentials. ``STORAGE_EMULATOR_HOST`` selects an emulator,
which needs no credentials.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import google.auth
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed, Unauthorized
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from obstore.auth.google import GoogleCredentialProvider
from obstore.store import GCSStore
from requests.exceptions import RequestException

from catalogue.reasons import Reason, StorageError
from catalogue.storage import object_reads
from catalogue.storage.access import Access
from catalogue.storage.content_encoding import gzip_layers, without_gzip
from catalogue.storage.object_reads import Credentials, ObjectReads, folder_of, is_plain, named
from catalogue.storage.parallel import for_each
from catalogue.storage.paths import split
from catalogue.storage.values import Admit, Content, Listed, admitted_size

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_FIELDS = "items(name,size,generation),nextPageToken"
# Without this header, the server decompresses objects with Content-Encoding: gzip and omits the length, which obstore
# needs.
# Source: https://cloud.google.com/storage/docs/transcoding
_AS_STORED = {"Accept-Encoding": "gzip"}
_PREFIX_FIELDS = "prefixes,nextPageToken"


class GoogleStore:
    """Store for Google Cloud Storage; the version of an object is its generation. See `catalogue.storage.values.Store`.

    Raises:
        StorageError: no credentials were found, or they cannot be loaded.
    """

    def __init__(self) -> None:
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        self._credentials: Credentials | None = None
        if emulator:
            self._endpoint = (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")
            self._client = Client(
                project="emulated",
                credentials=google.auth.credentials.AnonymousCredentials(),
                client_options={"api_endpoint": self._endpoint},
            )
        else:
            with _translated_errors():
                credentials, project = google.auth.default(scopes=_SCOPES)
                self._credentials = Credentials(GoogleCredentialProvider(credentials), _translated_errors)
                self._client = Client(project=project or "none", credentials=credentials)
            self._endpoint = f"https://storage.{credentials.universe_domain}"
        self._lock, self._buckets = threading.Lock(), dict[str, ObjectReads]()

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """See `Store`. The generation is compared first, since obstore does not support it as a condition."""
        bucket, key = named(location)
        if unless is not None:
            found = self.stat(location)
            if found is not None and found.version == unless:
                return None
        if is_plain(key):
            return self._reads(bucket).read(key, max_bytes, admit)
        blob = self._blob(location)
        with _translated_errors():
            blob.reload()
            admit(admitted_size(blob.size, max_bytes))
            data = blob.download_as_bytes(raw_download=True) if blob.size else b""
        data = without_gzip(data, gzip_layers(blob.content_encoding), max_bytes)
        return Content.of(data, str(blob.generation))

    def open(self, location: str) -> BinaryIO:
        """See `Store`."""
        bucket, key = named(location)
        if is_plain(key):
            return self._reads(bucket).open(key, location)
        with _translated_errors():
            return io.BytesIO(self._blob(location).download_as_bytes(raw_download=True))

    def stat(self, location: str) -> Listed | None:
        """See `Store`."""
        bucket, key = split(location)
        if not key:
            return None
        if is_plain(key):
            return self._reads(bucket).stat(key, location)
        blob = self._blob(location)
        with _translated_errors():
            try:
                blob.reload()
            except NotFound:
                return None
            return Listed(location, blob.size, str(blob.generation))

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """See `Store`. The server filters by the glob, and returns only names, sizes and generations."""
        bucket, prefix = folder_of(folder)
        matching = {"match_glob": _server_glob(prefix + pattern)} if pattern else {}
        with _translated_errors():
            for blob in self._client.list_blobs(bucket, prefix=prefix, fields=_FIELDS, **matching):
                if not blob.name.endswith("/"):
                    yield Listed(f"gs://{bucket}/{blob.name}", blob.size, str(blob.generation))

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        bucket, prefix = folder_of(folder)
        with _translated_errors():
            listing = self._client.list_blobs(bucket, prefix=prefix, delimiter="/", fields=_PREFIX_FIELDS)
            for _ in listing:
                pass
            names = sorted(name.removeprefix(prefix).rstrip("/") for name in listing.prefixes)
        return names or (None if next(self.files(folder, None), None) is None else [])

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """See `Store`."""
        with _translated_errors():
            try:
                self._blob(location).upload_from_file(
                    file,
                    rewind=True,
                    size=file.seek(0, os.SEEK_END),  # with a known size, small files take one request
                    if_generation_match=0 if only_if_absent else None,
                    checksum="crc32c",
                    retry=DEFAULT_RETRY,
                )
            except PreconditionFailed:
                return False
        return True

    def copy(self, source: str, target: str) -> None:
        """See `Store`. Large objects take several rewrite calls."""
        with _translated_errors():
            blob, token = self._blob(target), None
            while True:
                token, _, _ = blob.rewrite(self._blob(source), token=token, retry=DEFAULT_RETRY)
                if not token:
                    return

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        for_each(self._delete, locations)

    def close(self) -> None:
        """See `Store`."""
        self._client.close()

    def _delete(self, location: str) -> None:
        with _translated_errors(), contextlib.suppress(NotFound):
            self._blob(location).delete(retry=DEFAULT_RETRY)

    def _blob(self, location: str) -> Blob:
        bucket, key = named(location)
        return self._client.bucket(bucket).blob(key)

    def _reads(self, bucket: str) -> ObjectReads:
        with self._lock:
            if bucket not in self._buckets:
                self._buckets[bucket] = self._opened(bucket)
            return self._buckets[bucket]

    def _opened(self, bucket: str) -> ObjectReads:
        options: dict[str, Any] = (
            {"credential_provider": self._credentials} if self._credentials else {"skip_signature": True}
        )
        store = GCSStore(
            bucket,
            base_url=self._endpoint,
            client_options={**object_reads.client_options(self._endpoint), "default_headers": _AS_STORED},
            retry_config=object_reads.RETRY,
            **options,
        )
        return ObjectReads(
            store, lambda meta: meta["version"], self._credentials.error if self._credentials else lambda: None
        )


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate the errors of Google's client libraries into `StorageError`s."""
    try:
        yield
    except NotFound as error:
        raise StorageError(Reason.NOT_FOUND, error.message) from error
    except (Forbidden, Unauthorized) as error:
        raise StorageError(Reason.PERMISSION_DENIED, error.message) from error
    except TransportError as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error
    except GoogleAuthError as error:
        raise StorageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (GoogleAPIError, DataCorruption, InvalidResponse, RequestException, OSError) as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:  # an invalid bucket name
        raise StorageError(Reason.NOT_FOUND, str(error)) from error


def _server_glob(pattern: str) -> str:
    """Translate `pattern` into a server-side glob that matches at least the same names.

    On the server, ``**/`` has another meaning. Brackets, braces and backslashes may have one, too, so the first of them
    and the rest of the glob become ``**``.
    """
    plain = re.split(r"[\[\]{}\\]", pattern, maxsplit=1)[0]
    return plain.replace("**/", "**") + ("**" if plain != pattern else "")
