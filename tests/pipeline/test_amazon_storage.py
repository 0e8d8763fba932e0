"""Where objects of S3 are, and whether they came as they are kept; a server of S3 is in tests/test_s3.py."""

from __future__ import annotations

import base64
import datetime
import functools
import gc
import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from multidict import CIMultiDict, CIMultiDictProxy

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import amazon_storage, event_loop, objects, storage
from pipeline.amazon_storage import Place

PICTURE = b"\xff\xd8picture" * 1000
CRC32 = base64.b64encode(zlib.crc32(PICTURE).to_bytes(4, "big")).decode()
SHA256 = base64.b64encode(hashlib.sha256(PICTURE).digest()).decode()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[None]:
    """Those of a shop in Frankfurt with a bucket in Paris."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setattr(amazon_storage, "_region", lambda client, bucket: "eu-west-3" if "paris" in bucket else None)
    caches = (storage.amazon_client, amazon_storage.credentials, amazon_storage.place)
    for cache in caches:
        cache.cache_clear()
    amazon_storage._looked_for.clear()
    yield
    amazon_storage._looked_for.clear()
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("bucket", "url", "path", "region"),
    [
        ("shop", "https://shop.s3.eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("shop-paris", "https://shop-paris.s3.eu-west-3.amazonaws.com", "", "eu-west-3"),
        ("shop.paris", "https://s3.eu-west-3.amazonaws.com/shop.paris", "/shop.paris", "eu-west-3"),
    ],
)
def test_a_bucket_is_where_boto3_finds_it(settings: None, bucket: str, url: str, path: str, region: str) -> None:
    assert amazon_storage.place(bucket) == (url, url.removeprefix("https://").removesuffix(path), path, region)


def test_an_endpoint_of_ones_own(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    place = ("http://127.0.0.1:9000/shop", "127.0.0.1:9000", "/shop", "eu-central-1")
    assert amazon_storage.place("shop") == place


@pytest.mark.parametrize("token", [None, "of/a+role=="])
@pytest.mark.parametrize("endpoint", ["", "http://localhost", "http://[::1]:9000", "https://storage.shop.example:443"])
def test_a_request_is_signed_as_botocore_signs_it(
    settings: None, monkeypatch: pytest.MonkeyPatch, endpoint: str, token: str | None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    keys = Credentials("AKID", "secret/with+signs", token)
    monkeypatch.setattr(amazon_storage, "credentials", lambda: keys)
    for bucket in ("shop", "shop.paris"):
        for key in ("a.jpg", "/a//../b c#1?&ü%20~.jpg", "emoji/🧦=1,2;x.jpg", "a:b@c!$'()*+.jpg"):
            url, headers = amazon_storage.signed(bucket, key)
            request = AWSRequest("GET", url, headers={"X-Amz-Checksum-Mode": "ENABLED"})
            now = datetime.datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
            monkeypatch.setattr("botocore.auth.get_current_datetime", lambda now=now: now)
            S3SigV4Auth(keys.get_frozen_credentials(), "s3", amazon_storage.place(bucket).region).add_auth(request)
            assert headers == dict(request.headers)


def test_a_key_is_quoted_and_nothing_of_it_is_taken_for_a_path(settings: None) -> None:
    url, headers = amazon_storage.signed("shop", "/a//../b c#1?&ü%20~.jpg")
    assert url.endswith(".amazonaws.com//a//../b%20c%231%3F%26%C3%BC%2520~.jpg")
    assert headers["X-Amz-Checksum-Mode"] == "ENABLED"


def test_a_storage_that_does_not_answer_is_asked_for_objects_where_the_settings_say(
    settings: None, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    """And is not asked again for each object where the bucket is, which takes boto3 seconds."""
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    place = amazon_storage.place("shop")
    assert (place.path, place.region) == ("/shop", "eu-central-1")
    assert amazon_storage.place("shop") == place
    assert amazon_storage.place.cache_info().hits == 1


@pytest.mark.parametrize(
    ("headers", "intact"),
    [
        ({}, True),
        ({"x-amz-checksum-crc32": CRC32}, True),
        ({"X-Amz-Checksum-SHA256": SHA256, "x-amz-checksum-type": "FULL_OBJECT"}, True),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, False),
        ({"x-amz-checksum-crc32": CRC32, "x-amz-checksum-sha256": "AAAA"}, False),
        ({"x-amz-checksum-crc32c": "AAAAAA=="}, False),
        ({"x-amz-checksum-sha1": "AAAA"}, False),
        ({"x-amz-checksum-crc32": "this is no checksum"}, False),
        ({"x-amz-checksum-crc32": "AAAAAA==-3"}, True),  # of three parts
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"}, True),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, True),  # which nothing here computes
    ],
)
def test_checksums_of_the_whole_are_compared(headers: dict[str, str], intact: bool) -> None:
    assert amazon_storage._is_intact(PICTURE, CIMultiDictProxy(CIMultiDict(headers))) is intact


async def admit(size: int) -> None:
    pass


def read(location: str) -> bytes:
    return event_loop.submit(amazon_storage.read(location, Limits(), admit)).result()


class Refused:
    """Credentials of a role that may not be taken."""

    def refresh_needed(self) -> bool:
        return True

    def get_frozen_credentials(self) -> None:
        assert threading.current_thread().name != "event loop"  # which others wait for
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not this role"}}, "AssumeRole")


def test_a_role_that_may_not_be_taken_is_no_fault(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_storage, "credentials", Refused)
    with pytest.raises(ImageError, match="not this role") as error:
        read("s3://shop/a.jpg")
    assert error.value.reason is Reason.PERMISSION_DENIED


def test_what_is_loaded_for_a_bucket_is_not_looked_through_for_rubbish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_storage, "credentials", lambda: None)
    gc.unfreeze()
    amazon_storage._look_for("shop")
    assert gc.get_freeze_count() > 0


def test_other_reads_go_on_while_a_bucket_is_looked_for(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def find(bucket: str) -> Place:
        threads.append(threading.current_thread().name)
        return Place("http://127.0.0.1:1/shop", "127.0.0.1:1", "/shop", "eu-central-1")

    monkeypatch.setattr(amazon_storage, "place", functools.cache(find))
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.1)
    for _ in range(2):
        with pytest.raises(ImageError):
            read("s3://shop/a.jpg")
    assert len(threads) == 1
    assert threads != ["event loop"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The provided token</Message></Error>",
            "ExpiredToken",
        ),
        (b"<Error><Code>SignatureDoesNotMatch</Code></Error>", "SignatureDoesNotMatch"),
        (b"<Error><Code>NoSuchKey</Code><Key>Token</Key></Error>", ""),
        (b"no XML", ""),
    ],
)
def test_what_is_wrong_with_who_asks(body: bytes, code: str) -> None:
    assert amazon_storage._refusal(body) == code
