"""Reading objects from a server on loopback that answers as Google's storage does."""

from __future__ import annotations

import base64
import datetime
import gzip
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import ClassVar

import google.auth
import google.auth.credentials
import google_crc32c
import pytest
from google.auth.exceptions import DefaultCredentialsError, TransportError

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import event_loop, google_storage, objects, sources

PICTURE = b"\xff\xd8picture" * 1000


class Storage(http.server.BaseHTTPRequestHandler):
    """Objects by their names: ``denied``, ``none``, ``changed``, ``packed``, ``token`` and pictures."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        bucket, _, name = urllib.parse.urlsplit(self.path).path.removeprefix("/download/storage/v1/b/").partition("/o/")
        assert (bucket, urllib.parse.urlsplit(self.path).query) == ("shop", "alt=media")
        getattr(self, f"do_{name}", self.do_picture)()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_picture(self) -> None:
        self.answer(200, PICTURE, x_goog_hash=f"crc32c={checksum(PICTURE)},md5=abc")

    def do_changed(self) -> None:
        self.answer(200, PICTURE[:-1] + b"!", x_goog_hash=f"crc32c={checksum(PICTURE)}")

    def do_odd(self) -> None:
        self.answer(200, PICTURE, x_goog_hash="md5,,crc32c=no checksum at all")

    def do_packed(self) -> None:  # kept with gzip and unpacked by the server; the checksum is that of the packed form
        headers = {
            "x_goog_hash": f"crc32c={checksum(gzip.compress(PICTURE))}",
            "x_goog_stored_content_encoding": "gzip",
        }
        self.answer(200, PICTURE, **headers)

    def do_denied(self) -> None:
        self.answer(403, b"no")

    def do_none(self) -> None:
        self.answer(404, b"no")

    def do_token(self) -> None:
        self.answer(200, self.headers["Authorization"].encode())

    def log_message(self, *_: object) -> None:
        pass


def checksum(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    google_storage.access.cache_clear()
    Storage.asked.clear()
    yield
    event_loop.submit(closed()).result()
    google_storage.access.cache_clear()
    server.shutdown()
    server.server_close()


async def closed() -> None:
    await objects.connections().close()
    objects.connections.cache_clear()


def read(name: str) -> bytes:
    async def admit(size: int) -> None:
        assert size == len(PICTURE) or name == "token"

    return event_loop.submit(sources.read_async(f"gs://shop/{name}", Limits(), admit)).result()


@pytest.mark.parametrize("name", ["a.jpg", "a b#1?&ü/c.jpg", "a//b%20c.jpg", "packed"])
def test_objects_are_read_whole(storage: None, name: str) -> None:
    assert read(name) == PICTURE


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", Reason.NOT_FOUND),
        ("denied", Reason.PERMISSION_DENIED),
        ("changed", Reason.READ_FAILED),
        ("", Reason.NOT_FOUND),
        ("\ud800.jpg", Reason.NOT_FOUND),  # half a character, as JSON may hold one
        ("odd", Reason.READ_FAILED),
    ],
)
def test_each_failure_has_its_reason(storage: None, name: str, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.1)
    with pytest.raises(ImageError) as error:
        read(name)
    assert error.value.reason is reason


def test_credentials_that_are_missing_are_said_and_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    def fail(**_: object) -> None:
        searches.append(1)
        raise DefaultCredentialsError("no credentials were found")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", fail)
    google_storage.access.cache_clear()
    for _ in range(3):
        with pytest.raises(ImageError, match="no credentials were found") as error:
            read("a.jpg")
        assert error.value.reason is Reason.PERMISSION_DENIED
    assert len(searches) == 1
    google_storage.access.cache_clear()


class Given(google.auth.credentials.Credentials):
    """Tokens that last so many seconds; the one who gives them does not answer while it is away."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.given, self.away = seconds, 0, 0

    def refresh(self, request: object) -> None:
        if self.away:
            self.away -= 1
            raise TransportError("the metadata server does not answer")
        self.given += 1
        self.token = f"token {self.given}"
        self.expiry = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.expiry += datetime.timedelta(seconds=self.seconds)


@pytest.fixture
def given(storage: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Given]:
    """Makes the credentials of this process."""
    endpoint = google_storage.access().endpoint
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")

    def begin(seconds: float) -> Given:
        credentials = Given(seconds)
        monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, "project"))
        google_storage.access.cache_clear()
        google_storage.access().endpoint = endpoint
        return credentials

    return begin


def test_a_token_that_is_too_old_is_renewed(given: Callable[[float], Given], monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = given(-1)
    assert read("token") == b"Bearer token 1"
    credentials.away = 1
    assert read("token") == b"Bearer token 2"  # asked for again
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.1)
    credentials.away = 1000
    with pytest.raises(ImageError, match="metadata server") as error:
        read("token")
    assert error.value.reason is Reason.READ_FAILED


def test_a_token_serves_as_long_as_it_lasts(given: Callable[[float], Given]) -> None:
    credentials = given(60)  # soon to be renewed
    assert read("token") == b"Bearer token 1"
    credentials.away = 1000
    assert {read("token") for _ in range(3)} == {b"Bearer token 1"}
    credentials.away = 0
    found = {read("token") for _ in range(3)}
    assert b"Bearer token 2" in found | {read("token")}
