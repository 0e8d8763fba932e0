"""Where objects of S3 are, and whether they came as they are kept; a server of S3 is in tests/test_s3.py."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pipeline import amazon_storage, storage

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
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("bucket", "place"),
    [
        ("shop", ("https://shop.s3.eu-central-1.amazonaws.com", "eu-central-1")),
        ("shop-paris", ("https://shop-paris.s3.eu-west-3.amazonaws.com", "eu-west-3")),
        ("shop.paris", ("https://s3.eu-west-3.amazonaws.com/shop.paris", "eu-west-3")),
    ],
)
def test_a_bucket_is_where_boto3_finds_it(settings: None, bucket: str, place: tuple[str, str]) -> None:
    assert amazon_storage.place(bucket) == place


def test_an_endpoint_of_ones_own(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert amazon_storage.place("shop") == ("http://127.0.0.1:9000/shop", "eu-central-1")


def test_a_key_is_quoted_and_nothing_of_it_is_taken_for_a_path(settings: None) -> None:
    url, headers = amazon_storage.signed("shop", "/a//../b c#1?&ü%20~.jpg")
    assert url.endswith(".amazonaws.com//a//../b%20c%231%3F%26%C3%BC%2520~.jpg")
    assert "/eu-central-1/s3/aws4_request" in headers["Authorization"]
    assert "x-amz-checksum-mode" in headers["Authorization"]


def test_a_storage_that_does_not_answer_is_asked_for_objects_where_the_settings_say(
    settings: None, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    """And is not asked again for each object where the bucket is, which takes boto3 seconds."""
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    place, region = amazon_storage.place("shop")
    assert (place.rpartition("/")[2], region) == ("shop", "eu-central-1")
    assert amazon_storage.place("shop") == (place, region)
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
