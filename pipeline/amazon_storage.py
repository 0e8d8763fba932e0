"""Objects of Amazon S3, and of whatever speaks as it does, with the credentials, places and checksums of boto3."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import functools
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import google_crc32c
from yarl import URL

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import objects, storage
from pipeline.machine import freeze_heap

_SHA256_OF_NOTHING = hashlib.sha256().hexdigest()
_CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-crc32c": lambda data: google_crc32c.value(data).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
}


async def read(location: str, limits: Limits, admit: objects.Admit) -> bytes:
    """`pipeline.objects.get` for ``s3://BUCKET/KEY``. Raises UserError without the extra ``aws``."""
    storage.check(location)
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

    bucket, _, key = location.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise ImageError(Reason.NOT_FOUND, f"{location} names no object")

    async def request() -> tuple[str, dict[str, str]]:
        await _prepared(bucket)
        return signed(bucket, key)

    try:
        return await objects.get(request, _is_intact, limits, admit, _refusal)
    except (NoCredentialsError, ClientError) as error:  # the latter from whom the credentials are asked of
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (ParamValidationError, UnicodeError) as error:
        raise ImageError(Reason.NOT_FOUND, f"{location!r} names no object: {error}") from error
    except BotoCoreError as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


async def _prepared(bucket: str) -> None:
    """Has looked for whatever `signed` needs, which may take seconds, while other reads go on."""
    loop = asyncio.get_running_loop()
    if bucket not in _looked_for:
        _looked_for[bucket] = loop.run_in_executor(None, _look_for, bucket)
    await _looked_for[bucket]
    keys = credentials()
    if hasattr(keys, "refresh_needed") and keys.refresh_needed():
        await loop.run_in_executor(None, keys.get_frozen_credentials)


_looked_for: dict[str, asyncio.Future[None]] = {}


def _look_for(bucket: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    with contextlib.suppress(BotoCoreError, ClientError):  # `signed` raises it for each object
        if credentials() is not None:
            place(bucket)
    freeze_heap()  # boto3 has read all that Amazon's services can do


def signed(bucket: str, key: str) -> tuple[str, dict[str, str]]:
    """The URL of an object, and the headers that a request is let in for.

    Raises:
        BotoCoreError: there are no credentials, or this cannot be the name of a bucket.
    """
    from botocore.exceptions import NoCredentialsError

    if credentials() is None:
        raise NoCredentialsError
    where = place(bucket)
    name = quote(key, safe="/~")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{where.url}/{name}", signature(where, name, credentials().get_frozen_credentials(), now)


def signature(where: Place, name: str, keys: Any, now: str) -> dict[str, str]:
    """The headers of a GET in Signature Version 4.

    As botocore makes them, but in a seventh of its time, which was half of what reading an object took.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

    Args:
        where: of the bucket.
        name: of the object, quoted.
        keys: of botocore: access key, secret key and token.
        now: ``20261122T123456Z``, UTC.
    """
    headers = {"X-Amz-Checksum-Mode": "ENABLED", "X-Amz-Content-SHA256": _SHA256_OF_NOTHING, "X-Amz-Date": now}
    if keys.token:
        headers["X-Amz-Security-Token"] = keys.token
    lines = [f"host:{where.host}", *(f"{header.lower()}:{value}" for header, value in headers.items())]
    names = ";".join(line.partition(":")[0] for line in lines)
    request = "\n".join(["GET", f"{where.path}/{name}", "", *lines, "", names, _SHA256_OF_NOTHING])
    scope = f"{now[:8]}/{where.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    signed = hmac.digest(_signing_key(keys.secret_key, scope), text.encode(), "sha256").hex()
    by = f"Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signed}"
    return headers | {"Authorization": f"AWS4-HMAC-SHA256 {by}"}


@functools.lru_cache(64)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@functools.cache
def credentials() -> Any:
    """The process's credentials, which renew themselves; None if there are none: looking for them may take seconds."""
    import boto3

    return boto3.Session().get_credentials()


class Place(NamedTuple):
    """Where the objects of a bucket are: what their URLs begin with, host and path of that, the bucket's region."""

    url: str
    host: str
    path: str
    region: str


@functools.lru_cache(1024)
def place(bucket: str) -> Place:
    """Where the objects of a bucket are, as boto3 has it."""
    import boto3
    from botocore.config import Config

    client = storage.amazon_client()
    region = _region(client, bucket) or client.meta.region_name
    is_amazons = client.meta.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    config = Config(s3={"addressing_style": "virtual"}) if is_amazons else None
    client = boto3.client("s3", region_name=region, config=config)
    whole = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "key"})
    url = URL(whole.partition("?")[0].removesuffix("/key"), encoded=True)
    return Place(str(url).removesuffix("/"), url.host_port_subcomponent or "", url.raw_path.removesuffix("/"), region)


def _region(client: Any, bucket: str) -> str | None:
    """Where a bucket is; the storage says so to everybody, with the answer or with the error.

    None where it says nothing, or does not answer: then objects are asked for where the settings say, many at a time.
    """
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as UnreachableError

    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except (UnreachableError, HTTPClientError):
        return None
    return answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")


def _refusal(body: bytes) -> str:
    """The code of an error that says nothing of the object, such as ``ExpiredToken``, which has the status 400.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """
    code = re.search(rb"<Code>([A-Za-z]*(?:Token|Signature|Authorization|AccessKey)[A-Za-z]*)</Code>", body)
    return code[1].decode() if code else ""


def _is_intact(data: bytes, headers: objects.Headers) -> bool:
    """Compares what came with the checksums of the whole object that the storage keeps, as far as they are known here.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return True
    return all(
        headers[name] == base64.b64encode(checksum(data)).decode()
        for name, checksum in _CHECKSUMS.items()
        if name in headers and "-" not in headers[name]
    )
