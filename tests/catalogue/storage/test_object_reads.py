"""Reads from a faulty server on loopback, through the client of each object store."""

from __future__ import annotations

import base64
import gzip
import http.server
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ClassVar

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import object_reads, stores
from catalogue.storage.object_reads import is_plain
from tests import servers

PICTURE = b"\xff\xd8picture" * 1000
MAX = 1 << 20


class Faulty(http.server.BaseHTTPRequestHandler):
    """Server that responds as the object's name says; if the name contains ``once``, only the first read fails."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []
    connections: ClassVar[int] = 0

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_HEAD(self) -> None:  # boto3 checks the bucket
        self.answer(200, b"")

    def do_GET(self) -> None:
        name = urllib.parse.unquote(self.path.partition("?")[0].rpartition("/")[2])
        self.asked.append(name)
        if "once" in name and self.asked.count(name) > 1:
            name = "picture"
        getattr(self, f"do_{name.removesuffix('_once')}", self.do_picture)()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        given = {"Content_Length": str(len(body)), "ETag": '"1"', "x_goog_generation": "1"} | headers
        given |= {"Last_Modified": "Sun, 22 Nov 2026 12:00:00 GMT"}
        for key, value in given.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_picture(self) -> None:
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:  # the rest of a body that was cut off
            place = f"bytes {start}-{len(PICTURE) - 1}/{len(PICTURE)}"
            self.answer(206, PICTURE[start:], Content_Range=place)
        else:
            self.answer(200, PICTURE)

    def do_checksum(self) -> None:  # a wrong checksum, which is not verified: see `catalogue.storage`
        self.answer(200, PICTURE, x_goog_hash="crc32c=AAAAAA==", x_amz_checksum_crc32="AAAAAA==")

    def do_gzip(self) -> None:
        self.answer(200, gzip.compress(PICTURE), Content_Encoding="gzip")

    def do_gzip_members(self) -> None:
        self.answer(200, gzip.compress(PICTURE[:100]) + gzip.compress(PICTURE[100:]), Content_Encoding="X-GZip")

    def do_gzip_cut(self) -> None:
        self.answer(200, gzip.compress(PICTURE)[:-9], Content_Encoding="gzip")

    def do_gzip_by_aws(self) -> None:  # S3 stores the header of the upload
        self.answer(200, gzip.compress(PICTURE), Content_Encoding="aws-chunked,gzip")

    def do_gzip_twice(self) -> None:
        self.answer(200, gzip.compress(gzip.compress(PICTURE)), Content_Encoding="gzip, identity, GZIP")

    def do_brotli(self) -> None:
        self.answer(200, b"brotli", Content_Encoding="gzip, br")

    def do_gzip_of_nothing(self) -> None:  # marked as gzip but not compressed
        self.answer(200, PICTURE, Content_Encoding="gzip")

    def do_denied(self) -> None:
        self.answer(403, b"no")

    def do_unknown(self) -> None:
        self.answer(401, b"no")

    def do_expired(self) -> None:
        self.answer(400, b"<Error><Code>ExpiredToken</Code></Error>")

    def do_wrong(self) -> None:
        self.answer(400, b"<Error><Code>InvalidURI</Code></Error>")

    def do_none(self) -> None:
        self.answer(404, b"no")

    def do_503(self) -> None:
        self.answer(503, b"later")

    def do_429(self) -> None:
        self.answer(429, b"later")

    def do_500(self) -> None:
        self.answer(500, b"oh")

    def do_cut(self) -> None:
        self.answer(200, PICTURE[:50], Content_Length=str(len(PICTURE)))
        self.close_connection = True

    def do_reset(self) -> None:
        self.close_connection = True

    def do_hang(self) -> None:
        time.sleep(1.5)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect during a response, as the tests make them do."""


ENVIRONMENTS: dict[str, Callable[[str], dict[str, str]]] = {
    "gs": lambda host: {"STORAGE_EMULATOR_HOST": host},
    "s3": lambda host: {
        "AWS_ENDPOINT_URL": host, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    },
    "az": lambda host: {
        "AZURE_STORAGE_ENDPOINT": f"{host}/shop", "AZURE_STORAGE_ACCOUNT_NAME": "shop",
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"key").decode(),
    },
}  # fmt: skip

Read = Callable[..., bytes]


@pytest.fixture(params=list(ENVIRONMENTS))
def read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Function that reads an object from the faulty server, with short timeouts."""
    server = Server(("127.0.0.1", 0), Faulty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in (
        servers.NO_CREDENTIALS | ENVIRONMENTS[request.param](f"http://127.0.0.1:{server.server_port}")
    ).items():
        monkeypatch.setenv(name, value)
    backoff = {"init_backoff": timedelta(seconds=0.05), "max_backoff": timedelta(seconds=0.2), "base": 2}
    retry = {"max_retries": 10, "retry_timeout": timedelta(seconds=1), "backoff": backoff}
    monkeypatch.setattr(object_reads, "RETRY", retry)
    monkeypatch.setitem(object_reads.CLIENT_OPTIONS, "read_timeout", timedelta(seconds=0.5))
    monkeypatch.setitem(object_reads.CLIENT_OPTIONS, "timeout", timedelta(seconds=0.8))
    stores.forget()
    Faulty.asked.clear()
    Faulty.connections = 0

    def run(name: str, max_bytes: int = MAX) -> bytes:
        content = storage.read(f"{request.param}://shop/{name}", max_bytes)
        assert content is not None
        return content.data

    yield run
    stores.forget()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "name",
    [
        "picture",
        "checksum",
        "gzip",
        "gzip_members",
        "gzip_by_aws",
        "gzip_twice",
        "gzip_of_nothing",
        "503_once",
        "429_once",
        "500_once",
        "cut_once",
        "reset_once",
        "hang_once",
    ],
)
def test_objects_are_read_whole(read: Read, name: str) -> None:
    assert read(name) == PICTURE
    assert Faulty.asked == [name] * (2 if "once" in name else 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", Reason.NOT_FOUND),
        ("wrong", Reason.NOT_FOUND),
        ("denied", Reason.PERMISSION_DENIED),
        ("unknown", Reason.PERMISSION_DENIED),
        ("expired", Reason.PERMISSION_DENIED),
        ("503", Reason.READ_FAILED),
        ("429", Reason.READ_FAILED),
        ("cut", Reason.READ_FAILED),
        ("hang", Reason.READ_FAILED),
        ("gzip_cut", Reason.READ_FAILED),
        ("brotli", Reason.READ_FAILED),
    ],
)
def test_each_failure_has_its_reason_and_ends_in_time(read: Read, name: str, reason: Reason) -> None:
    start = time.monotonic()
    with pytest.raises(StorageError) as error:
        read(name)
    assert error.value.reason is reason, error.value
    assert time.monotonic() - start < 5
    assert "\n" not in error.value.message


def test_nothing_is_read_beyond_the_limit(read: Read) -> None:
    with pytest.raises(StorageError) as error:
        read("picture", len(PICTURE) - 1)
    assert error.value.reason is Reason.TOO_MANY_BYTES
    with pytest.raises(StorageError) as error:
        read("gzip", len(PICTURE) - 1)  # fits only while compressed
    assert error.value.reason is Reason.TOO_MANY_BYTES
    assert read("picture") == PICTURE  # not the unread rest of the previous response


def test_connections_are_kept(read: Read) -> None:
    read("picture")
    before = Faulty.connections
    for _ in range(20):
        read("picture")
    assert Faulty.connections <= before + 5  # some connections may not be back in the pool yet


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("a/b.jpg", True),
        ("a b#1?.jpg", True),
        ("/a", False),
        ("a//b", False),
        ("a/./b", False),
        ("a/..", False),
        ("a/", False),
        ("a\tb.jpg", False),
        ("a\x7f.jpg", False),
    ],
)
def test_which_keys_obstore_takes_as_they_are(key: str, plain: bool) -> None:
    assert is_plain(key) is plain
