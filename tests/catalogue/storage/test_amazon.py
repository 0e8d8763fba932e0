"""``s3://`` beyond the contract of `test_operations`: unusual names, regions, credentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import stores
from tests import servers


def test_keys_that_obstore_does_not_take_are_read_too(open_object_store: Callable[[str], Any]) -> None:
    """It would read another object, or none."""
    root = open_object_store("s3").root
    keys = [f"{root}//b.jpg", f"{root}/b.jpg", f"{root}/a/../b.jpg"]
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


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # botocore leaves a socket to the collector
@pytest.mark.parametrize("location", ["s3://another-bucket/a.jpg", "s3://shop", "s3://?!/a.jpg"])
def test_what_is_no_object_is_not_found(location: str, open_object_store: Callable[[str], Any]) -> None:
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
