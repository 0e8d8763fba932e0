"""Reading objects from a server on loopback that has a bad day."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import event_loop, objects

PICTURE = b"\xff\xd8picture" * 1000


class Storage(http.server.BaseHTTPRequestHandler):
    """Objects by their names; what has ``once`` in its name goes wrong the first time only."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []
    connections: ClassVar[int] = 0

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.strip("/")
        if "once" in name and self.asked.count(self.path) > 1:
            name = "picture"
        getattr(self, f"do_{name.removesuffix('_once')}", self.do_picture)()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_picture(self) -> None:
        self.answer(200, PICTURE)

    def do_changed(self) -> None:
        self.answer(200, PICTURE[:-1] + b"!")

    def do_moved(self) -> None:
        self.answer(301, b"", Location="/picture")

    def do_denied(self) -> None:
        self.answer(403, b"no")

    def do_expired(self) -> None:
        self.answer(400, b"<Code>ExpiredToken</Code>")

    def do_none(self) -> None:
        self.answer(404, b"no")

    def do_busy(self) -> None:
        self.answer(503, b"later")

    def do_cut(self) -> None:
        self.answer(200, PICTURE[:50], Content_Length=str(len(PICTURE)))
        self.close_connection = True

    def do_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(PICTURE), PICTURE))

    def log_message(self, *_: object) -> None:
        pass


Read = Callable[..., bytes]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Reads an object of the server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Storage.asked.clear()
    Storage.connections = 0

    def run(name: str, limits: Limits = Limits(), told: list[int] | None = None, port: int = 0) -> bytes:  # noqa: B008
        async def request() -> tuple[str, dict[str, str]]:
            return f"http://127.0.0.1:{port or server.server_port}/{name}", {}

        async def admit(size: int) -> None:
            if told is not None:
                told.append(size)

        def is_intact(data: bytes, headers: objects.Headers) -> bool:
            return not data.endswith(b"!")

        def refusal(body: bytes) -> str:
            return "ExpiredToken" if b"ExpiredToken" in body else ""

        return event_loop.submit(objects.get(request, is_intact, limits, admit, refusal)).result()

    yield run
    event_loop.submit(closed()).result()
    server.shutdown()
    server.server_close()


async def closed() -> None:
    await objects.connections().close()
    objects.connections.cache_clear()


@pytest.mark.parametrize("name", ["picture", "a%20b%231?c", "chunks", "busy_once", "changed_once", "cut_once"])
def test_objects_are_read_whole(read: Read, name: str) -> None:
    assert read(name) == PICTURE
    assert Storage.asked == [f"/{name}"] * (2 if "once" in name else 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", Reason.NOT_FOUND),
        ("denied", Reason.PERMISSION_DENIED),
        ("expired", Reason.PERMISSION_DENIED),
        ("moved", Reason.READ_FAILED),
        ("busy", Reason.READ_FAILED),
        ("changed", Reason.READ_FAILED),
        ("cut", Reason.READ_FAILED),
    ],
)
def test_each_failure_has_its_reason(read: Read, name: str, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.1)
    with pytest.raises(ImageError) as error:
        read(name)
    assert error.value.reason is reason


def test_the_size_is_known_before_the_bytes_come(read: Read) -> None:
    told: list[int] = []
    read("picture", told=told)
    assert told == [len(PICTURE)]
    with pytest.raises(ImageError) as error:
        read("picture", Limits(max_bytes=len(PICTURE) - 1), told)
    assert error.value.reason is Reason.TOO_MANY_BYTES
    assert told == [len(PICTURE)]
    assert read("picture") == PICTURE  # and not what was left unread


def test_what_says_no_size_is_read_to_the_limit_only(read: Read) -> None:
    with pytest.raises(ImageError) as error:
        read("chunks", Limits(max_bytes=len(PICTURE) - 1))
    assert error.value.reason is Reason.TOO_MANY_BYTES


def test_connections_are_kept(read: Read) -> None:
    for _ in range(5):
        read("picture")
    assert Storage.connections == 1


def test_nobody_there(read: Read, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]) -> None:
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.1)
    with pytest.raises(ImageError, match="Cannot connect to host") as error:
        read("picture", port=free_port())
    assert error.value.reason is Reason.READ_FAILED
