"""Tests of ``s3://`` beyond the contract of `test_operations`: unusual keys, regions and credentials."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ConnectTimeoutError, CredentialRetrievalError

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import amazon, stores
from catalogue.storage.amazon import address_of
from tests import servers
from tests.proxies import running_gateway


def test_keys_that_obstore_does_not_take_are_read_too(open_object_store: Callable[[str], Any]) -> None:
    """obstore would read another object, or none."""
    root = open_object_store("s3").root
    keys = [f"{root}//b.jpg", f"{root}/b.jpg", f"{root}/a/../b.jpg", f"{root}/a\tb.jpg"]
    for key in keys:
        storage.write_text(key, key)
    assert [storage.read(key, 1000).data.decode() for key in keys] == keys  # type: ignore[union-attr]
    assert sorted(file.location for file in storage.list_files(root)) == sorted(keys)
    for key in keys:
        version = storage.stat(key).version  # type: ignore[union-attr]
        assert storage.read(key, 1000, unless=version) is None
        assert storage.read_text(key) == key
    with pytest.raises(StorageError) as error:
        storage.read(keys[0], 10)
    assert error.value.reason is Reason.TOO_MANY_BYTES


# botocore leaves a socket open until it is garbage-collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_object_may_list_several_codings(open_object_store: Callable[[str], Any]) -> None:
    root = open_object_store("s3").root
    for name in ("a.jpg", "/b.jpg"):
        key = f"{root}/{name}".removeprefix(f"s3://{servers.BUCKET}/")
        body = gzip.compress(b"picture" * 1000)
        client = stores.store_of(root)._client  # type: ignore[attr-defined]
        client.put_object(Bucket=servers.BUCKET, Key=key, Body=body, ContentEncoding="gzip, identity")
        content = storage.read(f"{root}/{name}", 10_000)
        assert content is not None
        assert content.data == b"picture" * 1000


# botocore leaves a socket open until it is garbage-collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "location", ["s3://another-bucket/a.jpg", "s3://shop", "s3://?!/a.jpg", f"s3://{'b' * 300}/a.jpg"]
)
def test_locations_without_an_object_are_not_found(location: str, open_object_store: Callable[[str], Any]) -> None:
    open_object_store("s3")
    with pytest.raises(StorageError) as error:
        storage.read(location, 1000)
    assert error.value.reason is Reason.NOT_FOUND, error.value


def test_without_credentials_permission_is_denied(
    open_object_store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_object_store("s3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    stores.forget()
    with pytest.raises(StorageError, match="Unable to locate credentials") as error:
        storage.read(f"s3://{servers.BUCKET}/a.jpg", 1000)
    assert error.value.reason is Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("region", "endpoint", "options", "bucket", "address"),
    [
        ("us-east-1", None, {}, "shop", ("https://shop.s3.amazonaws.com", True)),
        ("eu-central-1", None, {}, "shop", ("https://shop.s3.eu-central-1.amazonaws.com", True)),
        ("cn-north-1", None, {}, "shop", ("https://shop.s3.cn-north-1.amazonaws.com.cn", True)),
        ("eu-central-1", None, {}, "my.shop", ("https://s3.eu-central-1.amazonaws.com", False)),
        ("us-gov-west-1", None, {"use_fips_endpoint": True}, "shop",
         ("https://shop.s3-fips.us-gov-west-1.amazonaws.com", True)),
        ("us-west-2", None, {"use_dualstack_endpoint": True}, "shop",
         ("https://shop.s3.dualstack.us-west-2.amazonaws.com", True)),
        ("us-west-2", None, {"s3": {"addressing_style": "path"}}, "shop",
         ("https://s3.us-west-2.amazonaws.com", False)),
        ("us-west-2", "https://bucket.vpce-1-2.s3.us-west-2.vpce.amazonaws.com", {}, "shop",
         ("https://bucket.vpce-1-2.s3.us-west-2.vpce.amazonaws.com", False)),
        ("us-east-1", "http://127.0.0.1:9000/s3", {}, "shop", ("http://127.0.0.1:9000/s3", False)),
    ],
)  # fmt: skip
def test_the_address_of_a_bucket_is_that_of_boto3(
    region: str, endpoint: str | None, options: Any, bucket: str, address: tuple[str, bool]
) -> None:
    config = Config(**options)
    client = boto3.client(
        "s3", region_name=region, endpoint_url=endpoint, config=config, aws_access_key_id="a", aws_secret_access_key="b"
    )
    assert address_of(client, bucket) == address


@pytest.mark.parametrize(
    ("region", "host"),
    [("cn-north-1", "shop.s3.cn-north-1.amazonaws.com.cn:443"), ("eu-west-3", "shop.s3.eu-west-3.amazonaws.com:443")],
)
def test_all_requests_go_to_the_partition_of_the_region(
    region: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with running_gateway() as gateway:
        proxy = f"http://127.0.0.1:{gateway.server_port}"
        for name, value in (
            servers.NO_CREDENTIALS
            | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": region,
               "HTTPS_PROXY": proxy, "https_proxy": proxy}
        ).items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(amazon, "_CONFIG", amazon._CONFIG.merge(Config(retries={"max_attempts": 0})))
        monkeypatch.setattr("catalogue.storage.object_reads.RETRY", {"max_retries": 1})
        stores.forget()
        with pytest.raises(StorageError):
            storage.read("s3://shop/a.jpg", 1000)
        with pytest.raises(StorageError):
            storage.read("s3://shop//a.jpg", 1000)
    stores.forget()
    assert {asked for asked, _ in gateway.asked} == {host}
    assert len(gateway.asked) >= 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CredentialRetrievalError(provider="role", error_msg="the role is gone"), Reason.PERMISSION_DENIED),
        (ConnectTimeoutError(endpoint_url="http://role"), Reason.READ_FAILED),
    ],
)
def test_credentials_that_cannot_be_refreshed(
    error: Exception, reason: Reason, open_object_store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = open_object_store("s3").root
    storage.write_text(f"{root}/a.jpg", "a")

    def fail() -> dict[str, str]:
        raise error

    expired = RefreshableCredentials(
        "a", "b", "c", datetime.now(timezone.utc) - timedelta(hours=1), refresh_using=fail, method="role"
    )
    monkeypatch.setattr("boto3.Session.get_credentials", lambda session: expired)
    stores.forget()
    for _ in range(2):
        with pytest.raises(StorageError) as raised:
            storage.read(f"{root}/a.jpg", 1000)
        assert raised.value.reason is reason, raised.value
        assert str(error) in raised.value.message


def test_many_files_are_deleted_with_few_requests(
    open_faulty_store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root, _), proxy = open_faulty_store("s3")
    monkeypatch.setattr(amazon, "_DELETED_AT_ONCE", 20)
    names = [f"{root}/a/{number} ü&<'.jpg" for number in range(45)]
    for name in names:
        storage.write_bytes(name, b"x")
    storage.write_bytes(f"{root}/b", b"x")
    asked: list[str] = []
    proxy.choose = lambda method, path: asked.append(method)
    storage.remove(f"{root}/a")
    assert asked.count("POST") == 3
    assert "DELETE" not in asked
    assert [file.location for file in storage.list_files(root)] == [f"{root}/b"]


def test_a_file_that_is_not_deleted_is_an_error(
    open_object_store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = open_object_store("s3").root
    storage.write_bytes(f"{root}/a", b"x")
    answer = {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "Access Denied"}]}
    store: Any = stores.store_of(root)
    monkeypatch.setattr(store._client, "delete_objects", lambda **_: answer)
    with pytest.raises(StorageError, match="a cannot be deleted: Access Denied") as error:
        storage.remove(root)
    assert error.value.reason is Reason.PERMISSION_DENIED
