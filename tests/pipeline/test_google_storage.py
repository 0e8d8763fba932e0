"""Reading objects from a server on loopback that answers as Google's storage does."""

from __future__ import annotations

import base64
import gzip
import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from typing import ClassVar

import google_crc32c
import pytest

from pipeline import google_storage, sources
from trainer.preprocessing import ImageError, Limits, Reason

PICTURE = b"\xff\xd8picture" * 1000


class Storage(http.server.BaseHTTPRequestHandler):
    """Objects by their names: ``denied``, ``busy``, ``changed``, ``packed``, ``cut`` and pictures."""

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

    def do_busy(self) -> None:
        first = sum("busy" in path for path in self.asked) == 1
        self.answer(503, b"later", Retry_After="0") if first else self.do_picture()

    def do_cut(self) -> None:
        self.answer(200, PICTURE[:50], Content_Length=str(len(PICTURE)))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def checksum(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    google_storage.connections.cache_clear()
    Storage.asked.clear()
    yield
    pool, _ = google_storage.connections()
    pool.clear()
    google_storage.connections.cache_clear()
    server.shutdown()
    server.server_close()


def read(name: str, limits: Limits = Limits()) -> bytes:  # noqa: B008, it is frozen
    return sources.read_bytes(f"gs://shop/{name}", limits)


@pytest.mark.parametrize("name", ["a.jpg", "a b#1?&ü/c.jpg", "busy", "packed"])
def test_objects_are_read_whole(storage: None, name: str) -> None:
    assert read(name) == PICTURE


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", Reason.NOT_FOUND),
        ("denied", Reason.PERMISSION_DENIED),
        ("changed", Reason.READ_FAILED),
        ("cut", Reason.READ_FAILED),
        ("", Reason.NOT_FOUND),
    ],
)
def test_each_failure_has_its_reason(storage: None, name: str, reason: Reason) -> None:
    with pytest.raises(ImageError) as error:
        read(name)
    assert error.value.reason is reason


def test_the_size_is_known_before_the_bytes_come(storage: None) -> None:
    told: list[int] = []
    sources.read_bytes("gs://shop/a.jpg", Limits(), told.append)
    assert told == [len(PICTURE)]
    with pytest.raises(ImageError) as error:
        read("a.jpg", Limits(max_bytes=len(PICTURE) - 1))
    assert error.value.reason is Reason.TOO_MANY_BYTES
    assert read("a.jpg") == PICTURE  # and not what was left unread


def test_connections_are_kept(storage: None) -> None:
    for _ in range(5):
        read("a.jpg")
    pool, endpoint = google_storage.connections()
    assert pool.connection_from_url(endpoint).num_connections == 1


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, free_port: object) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")  # type: ignore[operator]
    google_storage.connections.cache_clear()
    pool, _ = google_storage.connections()
    pool.connection_pool_kw["retries"] = False
    with pytest.raises(ImageError) as error:
        read("a.jpg")
    assert error.value.reason is Reason.READ_FAILED
    google_storage.connections.cache_clear()


def test_credentials_that_are_missing_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def fail(**_: object) -> None:
        raise DefaultCredentialsError("no credentials were found")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", fail)
    google_storage.connections.cache_clear()
    with pytest.raises(ImageError, match="no credentials were found") as error:
        read("a.jpg")
    assert error.value.reason is Reason.PERMISSION_DENIED
    google_storage.connections.cache_clear()
