"""Store for ``s3://`` and S3-compatible services. Needs the extra ``aws``.

Objects are read with obstore. Listing, writing, copying and deleting, and reading keys that obstore cannot address, use
boto3, which also finds credentials, region and endpoint in the environment, the shared configuration or roles.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import boto3
import urllib3
from boto3.exceptions import Boto3Error
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as UnreachableError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from catalogue.reasons import Reason, StorageError
from catalogue.storage import object_reads
from catalogue.storage.access import Access
from catalogue.storage.content_encoding import gzip_layers, without_gzip
from catalogue.storage.http_status import CONNECT_SECONDS, SILENCE_SECONDS, reason_of
from catalogue.storage.object_reads import Credentials, ObjectReads, folder_of, is_plain, named
from catalogue.storage.paths import split
from catalogue.storage.values import Admission, Admit, Content, Listed

_TOKEN_LIFE = datetime.timedelta(minutes=5)  # botocore refreshes credentials at least ten minutes before they expire
_MISSING = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")
_EXISTS = ("PreconditionFailed", "412")
_CONFLICTS = ("ConditionalRequestConflict", "409")
_CONFLICT_WAITS = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds
_DELETED_AT_ONCE = 1000  # Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 5},
    connect_timeout=CONNECT_SECONDS,
    read_timeout=SILENCE_SECONDS,
    max_pool_connections=64,
)


class AmazonStore:
    """Store for S3; the version of an object is its ETag. See `catalogue.storage.values.Store`.

    Raises:
        StorageError: no credentials were found, or they cannot be loaded.
    """

    def __init__(self) -> None:
        with _translated_errors():
            self._session = boto3.Session()
            if self._session.get_credentials() is None:
                raise NoCredentialsError
            self._credentials = Credentials(Boto3CredentialProvider(self._session, ttl=_TOKEN_LIFE), _translated_errors)
            self._client = self._session.client("s3", config=_CONFIG)
        self._lock, self._buckets = threading.Lock(), dict[str, ObjectReads]()

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """See `Store`."""
        bucket, key = named(location)
        if is_plain(key):
            return self._reads(bucket).read(key, max_bytes, admit, unless)
        condition = {"IfNoneMatch": unless} if unless is not None else {}
        admission = Admission(admit, max_bytes)
        with _translated_errors():
            while True:
                try:
                    answer = self._client.get_object(Bucket=bucket, Key=key, **condition)
                except ClientError as error:
                    if _code(error) in ("304", "NotModified"):
                        return None
                    raise
                if admission.is_fresh_after(answer["ContentLength"]):
                    break
                answer["Body"].close()
            data = answer["Body"].read()
        data = without_gzip(data, gzip_layers(answer.get("ContentEncoding")), max_bytes)
        return Content.of(data, answer["ETag"])

    def open(self, location: str) -> BinaryIO:
        """See `Store`."""
        bucket, key = named(location)
        if is_plain(key):
            return self._reads(bucket).open(key, location)
        with _translated_errors():
            return io.BytesIO(self._client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def stat(self, location: str) -> Listed | None:
        """See `Store`."""
        bucket, key = split(location)
        if not key:
            return None
        with _translated_errors():
            try:
                answer = self._client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return Listed(location, answer["ContentLength"], answer["ETag"])

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """See `Store`."""
        bucket, prefix = folder_of(folder)
        with _translated_errors():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):
                        yield Listed(f"s3://{bucket}/{item['Key']}", item["Size"], item["ETag"])

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        bucket, prefix = folder_of(folder)
        names, is_there = set(), False
        with _translated_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            for page in pages:
                names |= {item["Prefix"].removeprefix(prefix).rstrip("/") for item in page.get("CommonPrefixes", ())}
                is_there = is_there or bool(page.get("Contents"))
        return sorted(names) if names or is_there else None

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """See `Store`. Large files use a multipart upload, unless `only_if_absent`."""
        bucket, key = named(location)
        with _translated_errors():
            if not only_if_absent:
                self._client.upload_fileobj(file, bucket, key)
                return True
            content = file.read()
            for wait in (*_CONFLICT_WAITS, None):
                try:
                    self._client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
                except ClientError as error:
                    if _code(error) in _EXISTS:
                        return False
                    if _code(error) not in _CONFLICTS or wait is None:
                        raise
                    time.sleep(wait)  # another write is in progress and may still fail
                else:
                    break
        return True

    def copy(self, source: str, target: str) -> None:
        """See `Store`. Large objects use a multipart copy."""
        bucket, key = named(source)
        with _translated_errors():
            self._client.copy({"Bucket": bucket, "Key": key}, *named(target))

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        for bucket, group in itertools.groupby(map(named, locations), key=lambda name: name[0]):
            keys = [{"Key": key} for _, key in group]
            for start in range(0, len(keys), _DELETED_AT_ONCE):
                request = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
                with _translated_errors():
                    errors = self._client.delete_objects(Bucket=bucket, Delete=request).get("Errors", [])
                if errors:
                    reason = Reason.PERMISSION_DENIED if errors[0]["Code"] == "AccessDenied" else Reason.READ_FAILED
                    raise StorageError(
                        reason, f"s3://{bucket}/{errors[0]['Key']} cannot be deleted: {errors[0]['Message']}"
                    )

    def close(self) -> None:
        """See `Store`."""
        self._client.close()

    def _reads(self, bucket: str) -> ObjectReads:
        with self._lock:
            if bucket not in self._buckets:
                self._buckets[bucket] = self._opened(bucket)
            return self._buckets[bucket]

    def _opened(self, bucket: str) -> ObjectReads:
        with _translated_errors():
            region = self._region(bucket) or self._client.meta.region_name or "us-east-1"
            is_own = region == self._client.meta.region_name
            client = self._client if is_own else self._session.client("s3", region_name=region, config=_CONFIG)
            address = address_of(client, bucket)
        store = S3Store(
            bucket,
            region=region,
            endpoint=address.endpoint,
            virtual_hosted_style_request=address.is_bucket_in_host,
            client_options=object_reads.client_options(address.endpoint),
            retry_config=object_reads.RETRY,
            credential_provider=self._credentials,
        )
        return ObjectReads(store, lambda meta: meta["e_tag"], self._credentials.error)

    def _region(self, bucket: str) -> str | None:
        """Return the region of a bucket, which S3 reports to any caller, even in error responses.

        Return None if the service does not report the region or cannot be reached. The configured region applies then.
        """
        try:
            answer = self._client.head_bucket(Bucket=bucket)
        except ClientError as error:
            answer = error.response
        except (UnreachableError, HTTPClientError):
            return None
        return answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")


class Address(NamedTuple):
    """Address of a bucket.

    Attributes:
        endpoint: URL of the service; in virtual-hosted style it includes the bucket.
        is_bucket_in_host: whether the bucket is part of the host (virtual-hosted style), not of the path (path style).
    """

    endpoint: str
    is_bucket_in_host: bool


def address_of(client: Any, bucket: str) -> Address:
    """Return the address that boto3 uses for a bucket, including partitions, FIPS, dual stack and path style.

    The address comes from a request that is intercepted before it is sent. (Presigned URLs have another address.)
    """
    urls: list[str] = []

    def record(request: Any, **_: Any) -> AWSResponse:
        urls.append(request.url)
        return AWSResponse(request.url, 200, {}, urllib3.HTTPResponse(io.BytesIO(), preload_content=False))

    client.meta.events.register("before-send.s3.HeadBucket", record)
    try:
        client.head_bucket(Bucket=bucket)
    finally:
        client.meta.events.unregister("before-send.s3.HeadBucket", record)
    url = urllib.parse.urlsplit(urls[0])
    if url.netloc.startswith(f"{bucket}."):
        return Address(f"{url.scheme}://{url.netloc}{url.path}".rstrip("/"), is_bucket_in_host=True)
    return Address(f"{url.scheme}://{url.netloc}{url.path.removesuffix(f'/{bucket}')}", is_bucket_in_host=False)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate boto3's errors into `StorageError`s."""
    try:
        yield
    except ParamValidationError as error:  # an invalid bucket name
        raise StorageError(Reason.NOT_FOUND, str(error)) from error
    except (
        NoCredentialsError,
        PartialCredentialsError,
        CredentialRetrievalError,
        SSOError,
        TokenRetrievalError,
    ) as error:
        raise StorageError(Reason.PERMISSION_DENIED, str(error)) from error
    except ClientError as error:
        code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        is_refused = any(word in code for word in ("Token", "Signature", "Authorization", "AccessKey", "AccessDenied"))
        reason = Reason.PERMISSION_DENIED if is_refused else reason_of(status) or Reason.READ_FAILED
        raise StorageError(reason, str(error)) from error
    except (BotoCoreError, Boto3Error, OSError) as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:  # an invalid bucket name
        raise StorageError(Reason.NOT_FOUND, str(error)) from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
