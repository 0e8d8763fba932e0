"""Reading images from a real web server on loopback that does what servers do."""

from __future__ import annotations

import collections
import http.server
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import answers, sources, web

PICTURE = b"\xff\xd8picture" * 1000


class Shop(http.server.BaseHTTPRequestHandler):
    """``/status/N``, ``/hops/N``, ``/loop``, ``/cut``, ``/drip``, ``/silent``, ``/busy/N``, ``/slow`` and pictures."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    now = most = 0
    refused: ClassVar[dict[str, int]] = {}
    agents: ClassVar[set[str]] = set()
    asked: ClassVar[collections.Counter[str]] = collections.Counter()

    def do_GET(self) -> None:
        kind, _, rest = self.path.lstrip("/").partition("/")
        type(self).agents.add(self.headers["User-Agent"])
        with self.lock:
            self.asked[self.path] += 1
        getattr(self, f"do_{kind}", self.do_picture)(rest)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_picture(self, _: str) -> None:
        self.answer(200, PICTURE)

    def do_status(self, status: str) -> None:
        self.answer(int(status), b"no")

    def do_hops(self, left: str) -> None:
        where = f"/hops/{int(left) - 1}" if int(left) else "/a.jpg"
        self.answer(302, Location=where)

    def do_loop(self, _: str) -> None:
        self.answer(301, Location="/loop/")

    def do_elsewhere(self, _: str) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def do_away(self, where: str) -> None:
        self.answer(302, Location=urllib.parse.unquote(where))

    def do_cut(self, _: str) -> None:
        self.answer(200, PICTURE[:100], Content_Length=str(len(PICTURE)))
        self.close_connection = True

    def do_endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            pass

    def do_announced(self, _: str) -> None:
        self.answer(200, b"x", Content_Length=str(10**12))
        self.close_connection = True

    def do_drip(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            for _n in range(600):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    def do_silent(self, _: str) -> None:
        time.sleep(3)
        self.close_connection = True

    def do_busy(self, times: str) -> None:
        count = self.refused[times] = self.refused.get(times, 0) + 1
        self.answer(429, Retry_After="0") if count <= int(times) else self.do_picture("")

    def do_slow(self, _: str) -> None:
        with self.lock:
            type(self).now += 1
            type(self).most = max(self.most, self.now)
        time.sleep(0.2)
        with self.lock:
            type(self).now -= 1
        self.answer(200, PICTURE)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Readers that go away in the middle are what is tested here."""


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(answers, "READ_SECONDS", 0.5)
    monkeypatch.setattr(answers, "BODY_SECONDS", 1.5)
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.02)
    web._pool.cache_clear()
    yield
    web._pool(None).clear()
    web._pool.cache_clear()


def test_reads_a_picture_through_redirects_and_refusals(shop: str) -> None:
    for path in ("a.jpg", "ä b.jpg?size=large&x=%20", f"hops/{web.REDIRECTS - 1}", f"busy/{web.RETRIES}"):
        assert sources.read_bytes(f"{shop}/{path}", Limits()) == PICTURE, path
    assert all(agent.startswith("catalogue-classifier/") for agent in Shop.agents)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404", Reason.NOT_FOUND),
        ("status/410", Reason.NOT_FOUND),
        ("status/401", Reason.PERMISSION_DENIED),
        ("status/403", Reason.PERMISSION_DENIED),
        ("status/408", Reason.READ_FAILED),
        ("status/418", Reason.NOT_FOUND),
        ("busy/99", Reason.READ_FAILED),
        ("hops/9", Reason.NOT_FOUND),
        ("loop", Reason.NOT_FOUND),
        ("elsewhere", Reason.NOT_FOUND),
        ("away/http:%2F%2F[oops%2F", Reason.NOT_FOUND),
        ("away/http:%2F%2Flocalhost:99999%2F", Reason.NOT_FOUND),
        ("cut", Reason.READ_FAILED),
        ("silent", Reason.READ_FAILED),
        ("drip", Reason.READ_FAILED),
        ("endless", Reason.TOO_MANY_BYTES),
        ("announced", Reason.TOO_MANY_BYTES),
    ],
)
def test_what_fails_has_its_reason_and_takes_no_longer_than_said(shop: str, path: str, reason: Reason) -> None:
    start = time.monotonic()
    with pytest.raises(ImageError) as error:
        sources.read_bytes(f"{shop}/{path}", Limits(max_bytes=1_000_000))
    assert error.value.reason is reason
    assert time.monotonic() - start < 8


@pytest.mark.parametrize("status", [404, 408, 429, 500, 501, 502, 503, 504])
def test_what_may_pass_by_itself_is_asked_for_again(shop: str, status: int) -> None:
    Shop.asked.clear()
    with pytest.raises(ImageError):
        sources.read_bytes(f"{shop}/status/{status}", Limits())
    again = status not in (404, 501)
    assert Shop.asked == {f"/status/{status}": 1 + web.RETRIES * again}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/a.jpg", Reason.READ_FAILED),
        ("http://nowhere.invalid/a.jpg", Reason.READ_FAILED),
        ("http:///a.jpg", Reason.NOT_FOUND),
        ("https://[oops/a.jpg", Reason.NOT_FOUND),
        ("http://a:b:c/a.jpg", Reason.NOT_FOUND),
    ],
)
def test_urls_that_lead_nowhere(url: str, reason: Reason) -> None:
    with pytest.raises(ImageError) as error:
        sources.read_bytes(url, Limits())
    assert error.value.reason is reason


def test_whatever_fails_leaves_its_place_to_the_next(shop: str) -> None:
    """More failures of each kind than a host has connections; then a picture."""
    for path in ("status/404", "status/500", "announced", "cut", "away/http:%2F%2Flocalhost:99999%2F", "hops/9"):
        for _ in range(web.CONNECTIONS_PER_HOST + 1):
            with pytest.raises(ImageError):
                sources.read_bytes(f"{shop}/{path}", Limits(max_bytes=1_000_000))
    assert sources.read_bytes(f"{shop}/a.jpg", Limits()) == PICTURE


def test_a_host_gets_a_few_connections_at_a_time(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Shop.most = 0
    monkeypatch.setattr(answers, "READ_SECONDS", 20)
    web._pool.cache_clear()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: sources.read_bytes(f"{shop}/slow/{n}", Limits()), range(24)))
    assert set(found) == {PICTURE}
    assert 2 <= Shop.most <= web.CONNECTIONS_PER_HOST
