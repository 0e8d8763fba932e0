"""Tests of ``gs://`` beyond the contract of `test_operations`: unusual names and credentials."""

from __future__ import annotations

import fnmatch
import gzip
from collections.abc import Callable, Iterator
from typing import Any

import google.auth
import google.auth.credentials
import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.cloud.storage import Client

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import globs, stores
from tests import servers


def test_keys_that_obstore_does_not_take_are_read_too(open_object_store: Callable[[str], Any]) -> None:
    """obstore would read another object, or none."""
    root = open_object_store("gs").root
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
    with pytest.raises(StorageError) as error:
        storage.read("gs://shop", 10)
    assert error.value.reason is Reason.NOT_FOUND


def test_objects_that_are_stored_compressed_are_unpacked(open_object_store: Callable[[str], Any]) -> None:
    """By default the server would decompress objects and omit their length. `open_file` leaves them compressed."""
    root = open_object_store("gs").root
    client = Client(project="test", credentials=google.auth.credentials.AnonymousCredentials())
    keys = [(f"{root}/a.jpg", "gzip"), (f"{root}//b.jpg", "gzip"), (f"{root}//c.jpg", "aws-chunked, gzip")]
    for key, coding in keys:
        blob = client.bucket(servers.BUCKET).blob(key.removeprefix(f"gs://{servers.BUCKET}/"))
        blob.content_encoding = coding
        blob.upload_from_string(gzip.compress(b"picture" * 1000), content_type="image/jpeg")
        content = storage.read(key, 10_000)
        assert content is not None
        assert content.data == b"picture" * 1000
        assert content.version == storage.stat(key).version  # type: ignore[union-attr]
        assert storage.read_bytes(key) == content.data
        with storage.open_file(key) as file:
            assert gzip.decompress(file.read()) == content.data
        with pytest.raises(StorageError) as error:
            storage.read(key, 6_999)
        assert error.value.reason is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize("pattern", ["*[.jpg", "a[b/*.jpg", "**/*[", "{*", "*\\*"])
def test_globs_that_the_server_would_refuse_or_read_otherwise(
    pattern: str, open_object_store: Callable[[str], Any]
) -> None:
    root, names = open_object_store("gs").root, ["x[.jpg", "a[b/1.jpg", "c/d[", "{e", "f\\g", "h.jpg"]
    for name in names:
        storage.write_text(f"{root}/{name}", name)
    found = {file.location.removeprefix(f"{root}/") for file in globs.matches(f"{root}/{pattern}")}
    assert found == {
        name for name in names if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]").replace("**/", "*/"))
    }


class Credentials(google.auth.credentials.Credentials):
    """Credentials that cannot be refreshed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def refresh(self, request: object) -> None:
        raise self.error


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    stores.forget()
    yield
    stores.forget()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RefreshError("the account is gone"), Reason.PERMISSION_DENIED),
        (TransportError("no answer"), Reason.READ_FAILED),
    ],
)
def test_credentials_that_cannot_be_refreshed(
    error: Exception, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google.auth, "default", lambda scopes: (Credentials(error), "project"))
    for _ in range(2):
        with pytest.raises(StorageError, match=str(error)) as raised:
            storage.read("gs://shop/a.jpg", 1000)
        assert raised.value.reason is reason


def test_missing_credentials_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def look(scopes: object) -> None:
        calls.append(scopes)
        raise DefaultCredentialsError("no credentials")

    monkeypatch.setattr(google.auth, "default", look)
    for call in (lambda: storage.read("gs://shop/a.jpg", 9), lambda: list(storage.list_files("gs://shop"))) * 2:
        with pytest.raises(StorageError, match="no credentials") as raised:
            call()
        assert raised.value.reason is Reason.PERMISSION_DENIED
    assert len(calls) == 1


def test_credentials_that_could_not_be_reached_are_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception] = [TransportError("no answer"), DefaultCredentialsError("no credentials")]

    def look(scopes: object) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(google.auth, "default", look)
    for reason in (Reason.READ_FAILED, Reason.PERMISSION_DENIED):
        with pytest.raises(StorageError) as raised:
            storage.read("gs://shop/a.jpg", 9)
        assert raised.value.reason is reason


@pytest.mark.parametrize("form", ["{}", "http://{}/"])
def test_the_emulator_may_be_named_without_a_scheme(
    form: str, open_object_store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, environment = open_object_store("gs")
    host = environment["STORAGE_EMULATOR_HOST"].removeprefix("http://")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", form.format(host))
    stores.forget()
    storage.write_text(f"{root}/a", "a")
    assert [file.location for file in storage.list_files(root)] == [f"{root}/a"]
    assert storage.read_text(f"{root}/a") == "a"


def test_bytes_that_do_not_match_their_checksum_are_refused(open_faulty_store: Callable[[str], Any]) -> None:
    """Checksums are verified for uploads, and for downloads through google-cloud-storage."""
    (root, _), proxy = open_faulty_store("gs")
    storage.write_text(f"{root}//a.jpg", "picture")
    proxy.choose = lambda method, path: "damaged"
    for call in (lambda: storage.write_text(f"{root}/b.jpg", "picture"), lambda: storage.read(f"{root}//a.jpg", 100)):
        with pytest.raises(StorageError, match=r"(?i)checksum|crc32c") as error:
            call()
        assert error.value.reason is Reason.READ_FAILED
