"""Reads of images from an HTTP server on loopback that behaves like servers on the web."""

from __future__ import annotations

import base64
import collections
import gzip
import http.server
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import hosts, stores, values, web, web_errors
from catalogue.storage.deadline import Deadline
from tests.proxies import Gateway, running_gateway

PICTURE = b"\xff\xd8picture" * 1000
SECONDS = 1.5
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


class Shop(http.server.BaseHTTPRequestHandler):
    """Server that behaves as the first part of the path says, such as ``/status/404``; other paths return a picture."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    now = most = 0
    refused: ClassVar[dict[str, int]] = {}
    agents: ClassVar[set[str]] = set()
    cookies: ClassVar[set[str | None]] = set()
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
        type(self).cookies |= {self.headers["Cookie"]}
        if self.headers["If-None-Match"] == '"v1"' or self.headers["If-Modified-Since"] == DATE:
            self.answer(304)
        else:
            self.answer(200, PICTURE, ETag='"v1"', Set_Cookie="visitor=1; Path=/")

    def do_header(self, rest: str) -> None:
        status, name, value = rest.split("/", 2)
        self.answer(int(status), PICTURE, **{name: value})

    def do_old(self, name: str) -> None:  # raw UTF-8 in Location, as sent by Apache and PHP
        self.answer(302, Location=f"/new/{urllib.parse.unquote(name)}".encode().decode("latin-1"))

    def do_new(self, name: str) -> None:
        self.answer(200, PICTURE) if urllib.parse.unquote(name) == "schürze.jpg" else self.answer(404)

    def do_bytes(self, target: str) -> None:  # raw bytes in Location, in any encoding
        self.answer(302, Location=urllib.parse.unquote(target, "latin-1"))

    def do_latin(self, rest: str) -> None:
        self.answer(200, PICTURE) if rest == "sch%FCrze.jpg?name=gr%FCn%20a&x=%2F" else self.answer(404)

    def do_private(self, _: str) -> None:
        expected = f"Basic {base64.b64encode(b'me:s@cret').decode()}"
        self.answer(200, PICTURE) if self.headers["Authorization"] == expected else self.answer(401)

    def do_moved(self, form: str) -> None:
        host = {"relative": "", "same": f"http://{self.headers['Host']}", "other": f"http://localhost:{self.port()}"}
        self.answer(302, Location=f"{host[form]}/private/a.jpg", Set_Cookie="secret=1; Path=/")

    def port(self) -> int:
        return int(self.headers["Host"].rpartition(":")[2])

    def do_wall(self, _: str) -> None:  # admits clients that return its cookie
        if self.headers["Cookie"] == "seen=1":
            self.answer(200, PICTURE)
        else:
            self.answer(302, Location=self.path, Set_Cookie="seen=1; Path=/")

    def do_dated(self, _: str) -> None:
        self.answer(304) if self.headers["If-Modified-Since"] == DATE else self.answer(200, PICTURE, Last_Modified=DATE)

    def do_packed(self, _: str) -> None:
        self.answer(200, (packed := gzip.compress(PICTURE)), Content_Encoding="gzip", Content_Length=str(len(packed)))

    def do_coded(self, rest: str) -> None:
        layers, codings = urllib.parse.unquote(rest).split("/")
        body = PICTURE
        for _ in range(int(layers)):
            body = gzip.compress(body)
        self.answer(200, body, Content_Encoding=codings)

    def do_status(self, status: str) -> None:
        self.answer(int(status), b"" if status in ("204", "205") else b"no")

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
        """Ignore clients that disconnect during a response, as the tests make them do."""


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
    monkeypatch.setattr(web, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(web_errors, "BACKOFF_SECONDS", 0.02)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    stores.forget()
    yield
    stores.forget()


def read(url: str, unless: str | None = None) -> bytes | None:
    with Deadline(SECONDS):
        content = storage.read(url, 1_000_000, unless=unless)
    return content and content.data


def test_reads_a_picture_through_redirects_and_refusals(shop: str) -> None:
    for path in ("a.jpg", "ä b.jpg?size=large&x=%20", f"hops/{web.REDIRECTS - 1}", f"busy/{web.RETRIES}"):
        assert read(f"{shop}/{path}") == PICTURE, path
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
        ("bytes/http:%2F%2Fb%FCcher.invalid%2F", Reason.READ_FAILED),
        ("cut", Reason.READ_FAILED),
        ("silent", Reason.READ_FAILED),
        ("drip", Reason.READ_FAILED),
        ("endless", Reason.TOO_MANY_BYTES),
        ("announced", Reason.TOO_MANY_BYTES),
    ],
)
def test_each_failure_has_its_reason_and_ends_in_time(shop: str, path: str, reason: Reason) -> None:
    start = time.monotonic()
    with pytest.raises(StorageError) as error:
        read(f"{shop}/{path}")
    assert error.value.reason is reason
    assert time.monotonic() - start < 8


@pytest.mark.parametrize("status", [201, 202, 204, 205, 206, 207, 226])
def test_a_success_without_the_whole_file_is_a_failure(shop: str, status: int) -> None:
    with pytest.raises(StorageError, match=f"^read_failed: HTTP {status} "):
        read(f"{shop}/status/{status}")
    assert read(f"{shop}/header/203/X/1") == PICTURE


@pytest.mark.parametrize("status", [404, 408, 429, 500, 501, 502, 503, 504])
def test_transient_failures_are_retried(shop: str, status: int) -> None:
    Shop.asked.clear()
    with pytest.raises(StorageError):
        read(f"{shop}/status/{status}")
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
    with pytest.raises(StorageError) as error:
        read(url)
    assert error.value.reason is reason


def test_reads_that_fail_give_up_their_connection(shop: str) -> None:
    """Each kind of failure occurs more often than a host has connections, and a picture can still be read."""
    for path in ("status/404", "status/500", "announced", "cut", "away/http:%2F%2Flocalhost:99999%2F", "hops/9"):
        for _ in range(hosts.READS_PER_HOST + 1):
            with pytest.raises(StorageError):
                read(f"{shop}/{path}")
    assert read(f"{shop}/a.jpg") == PICTURE


def test_a_host_gets_a_few_connections_at_a_time(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Shop.most = 0
    monkeypatch.setattr(web, "SILENCE_SECONDS", 20)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: read(f"{shop}/slow/{n}"), range(24)))
    assert set(found) == {PICTURE}
    assert 2 <= Shop.most <= hosts.READS_PER_HOST


def test_an_image_that_has_not_changed_is_not_sent_again(shop: str) -> None:
    for path in ("a.jpg", "dated/"):
        first = storage.read(f"{shop}/{path}", 1_000_000)
        assert first is not None
        assert first.version == ('"v1"' if path == "a.jpg" else DATE)
        assert read(f"{shop}/{path}", unless=first.version) is None
        assert read(f"{shop}/{path}", unless='"v0"') == PICTURE


@pytest.mark.parametrize(
    "codings", ["gzip", "X-GZip", "aws-chunked,gzip", "gzip,%20identity", "gzip,gzip", "utf-8,gzip", ",gzip,"]
)
def test_an_answer_may_list_several_codings(shop: str, codings: str) -> None:
    for layers in (1, codings.count("gzip")):
        assert read(f"{shop}/coded/{layers}/{codings}") == PICTURE


@pytest.mark.parametrize("codings", ["br", "gzip,br", "deflate,%20gzip", "ZSTD,identity"])
def test_codings_that_were_not_requested_are_refused(shop: str, codings: str) -> None:
    with pytest.raises(StorageError, match=r"^read_failed: the Content-Encoding .* is not supported"):
        read(f"{shop}/coded/1/{codings}")


def test_packed_answers_are_unpacked_and_cookies_are_not_kept(shop: str) -> None:
    assert read(f"{shop}/packed/") == PICTURE
    Shop.cookies.clear()
    for _ in range(2):
        read(f"{shop}/a.jpg")
    assert Shop.cookies == {None}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway(PICTURE) as proxy:
        yield proxy


def test_the_web_and_object_stores_are_read_through_a_proxy(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:s%40cret@127.0.0.1:{gateway.server_port}")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.invalid")
    assert read("http://shop.invalid/c.jpg") == PICTURE
    assert read("gs://shop/a.jpg") == PICTURE
    known = f"Basic {base64.b64encode(b'me:s@cret').decode()}"
    assert gateway.asked == [("http://shop.invalid/c.jpg", known), ("http://storage.invalid/shop/a%2Ejpg", known)]


def test_no_proxy_may_name_a_port(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the proxy returns a picture; the hosts themselves cannot be reached."""
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{gateway.server_port}")
    monkeypatch.setenv("no_proxy", "localhost:1,.internal")
    for host, by_proxy in (("localhost:1", False), ("localhost:2", True), ("a.internal", False)):
        try:
            data = read(f"http://{host}/a.jpg")
        except StorageError:
            data = b""
        assert (data == PICTURE) is by_proxy, host


def test_a_tunnel_that_is_refused_is_reported(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://me@127.0.0.1:{gateway.server_port}")
    with pytest.raises(StorageError, match="407"):
        read("https://shop.invalid/a.jpg")
    assert {path for path, _ in gateway.asked} == {"shop.invalid:443"}


def test_a_proxy_of_another_kind_is_reported(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{gateway.server_port}")
    with pytest.raises(
        StorageError, match="SOCKS proxies are not supported: set http_proxy to http://HOST:PORT"
    ) as error:
        read("http://shop.invalid/c.jpg")
    assert error.value.reason is Reason.READ_FAILED


def test_a_response_that_has_waited_for_room_is_requested_again(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "STALE_SECONDS", 0.1)
    admitted: list[int] = []

    def admit(size: int) -> None:
        admitted.append(size)
        time.sleep(0.2)

    content = storage.read(f"{shop}/waited.jpg", 1_000_000, admit=admit)
    assert content is not None
    assert content.data == PICTURE
    assert admitted == [len(PICTURE)]
    assert Shop.asked["/waited.jpg"] == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"header/200/Content_Length/{'9' * 5000}", Reason.TOO_MANY_BYTES),
        (f"header/503/Retry_After/{'9' * 5000}", Reason.READ_FAILED),
        ("header/503/Retry_After/Sun,%20Jan%2099999999", Reason.READ_FAILED),
    ],
)
def test_headers_that_cannot_be_parsed_cost_one_image(shop: str, path: str, reason: Reason) -> None:
    with pytest.raises(StorageError) as error:
        read(f"{shop}/{path.replace('%20', ' ')}" if reason is Reason.TOO_MANY_BYTES else f"{shop}/{path}")
    assert error.value.reason is reason, error.value


def test_a_redirect_may_be_in_utf_8(shop: str) -> None:
    assert read(f"{shop}/old/sch%C3%BCrze.jpg") == PICTURE
    assert read(f"{shop}/new/schürze.jpg") == PICTURE


def test_a_redirect_may_be_in_another_encoding(shop: str) -> None:
    for target in ("/latin/sch\xfcrze.jpg?name=gr\xfcn%20a&x=%2F", "/latin/sch%FCrze.jpg?name=gr\xfcn a&x=%2F"):
        assert read(f"{shop}/bytes/{urllib.parse.quote(target.encode('latin-1'), safe='')}") == PICTURE


def test_the_user_of_a_url_is_sent_and_not_shown(shop: str) -> None:
    known = shop.replace("http://", "http://me:s%40cret@")
    assert read(f"{known}/private/a.jpg") == PICTURE
    assert read(f"{known}/moved/relative") == PICTURE
    assert read(f"{known}/moved/same") == PICTURE
    for url in (
        f"{known}/moved/other",
        f"{shop}/private/a.jpg",
        shop.replace("http://", "http://me:wrong@") + "/private/a.jpg",
    ):
        with pytest.raises(StorageError) as error:
            read(url)
        assert error.value.reason is Reason.PERMISSION_DENIED
    with pytest.raises(StorageError) as error:
        read("http://me:s%40cret@shop:port/a.jpg")
    assert "cret" not in error.value.message


def test_cookies_are_kept_for_the_redirects_of_one_image(shop: str) -> None:
    for _ in range(2):
        Shop.asked.clear()
        assert read(f"{shop}/wall/a.jpg") == PICTURE
        assert Shop.asked["/wall/a.jpg"] == 2


def test_the_web_is_only_read(shop: str) -> None:
    for call in (
        storage.open_file,
        lambda url: list(storage.list_files(url)),
        lambda url: storage.write_text(url, ""),
    ):
        with pytest.raises(StorageError, match="only images can be read from the web"):
            call(f"{shop}/a.jpg")


def test_an_unrequested_304_is_a_failure(shop: str) -> None:
    with pytest.raises(StorageError) as error:
        read(f"{shop}/status/304")
    assert error.value.reason is Reason.READ_FAILED
