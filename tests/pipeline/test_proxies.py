"""Images read through a proxy on loopback, which is asked for hosts that there are not."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import event_loop, google_storage, objects, proxies, sources, web
from pipeline.proxies import Proxy, proxy_for

PICTURE = b"\xff\xd8picture" * 1000


class Gateway(http.server.BaseHTTPRequestHandler):
    """A proxy that has a picture for each URL."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        self.wfile.write(PICTURE)

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a proxy. Nothing that was found out about other proxies is left."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    Gateway.asked.clear()
    caches = (proxies.proxy_for, google_storage.access)
    for cache in caches:
        cache.cache_clear()
    yield server.server_port
    event_loop.submit(closed()).result()
    web._pool.cache_clear()
    for cache in caches:
        cache.cache_clear()
    server.shutdown()
    server.server_close()


async def closed() -> None:
    await objects.connections().close()
    objects.connections.cache_clear()


async def admit(size: int) -> None:
    assert size == len(PICTURE)


def test_objects_and_images_of_the_web_come_through_it(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:s%40cret@127.0.0.1:{gateway}")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.invalid")
    read = event_loop.submit(sources.read_async("gs://shop/a b.jpg", Limits(), admit))
    assert read.result() == PICTURE
    assert sources.read_bytes("http://shop.invalid/c.jpg", Limits(), lambda _: None) == PICTURE
    known = f"Basic {base64.b64encode(b'me:s@cret').decode()}"
    assert Gateway.asked == [
        ("http://storage.invalid/download/storage/v1/b/shop/o/a%20b.jpg?alt=media", known),
        ("http://shop.invalid/c.jpg", known),
    ]


def test_a_port_may_be_named(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy has a picture for each URL, the host itself, which is not there, has none."""
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{gateway}")
    monkeypatch.setenv("no_proxy", "127.0.0.1:1")
    for port, read in (("1", False), ("2", True)):
        try:
            data = sources.read_bytes(f"http://127.0.0.1:{port}/a.jpg", Limits(), lambda _: None)
        except ImageError:
            data = b""
        assert (data == PICTURE) is read


def test_a_tunnel_that_is_refused_is_not_asked_for_again(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://me@127.0.0.1:{gateway}")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://storage.invalid")
    with pytest.raises(ImageError, match="the proxy says HTTP 407") as caught:
        event_loop.submit(sources.read_async("gs://shop/a.jpg", Limits(), admit)).result()
    assert caught.value.reason == Reason.PERMISSION_DENIED
    assert Gateway.asked == [("storage.invalid:443", f"Basic {base64.b64encode(b'me:').decode()}")]


def test_some_hosts_are_asked_themselves(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{gateway}")
    monkeypatch.setenv("no_proxy", "localhost,.internal,store:9000")
    assert proxy_for("https", "storage.googleapis.com") == Proxy(f"http://127.0.0.1:{gateway}")
    assert proxy_for("http", "storage.googleapis.com") is None
    assert proxy_for("https", "localhost") is None
    assert proxy_for("https", "minio.internal:443") is None
    assert proxy_for("https", "store:9000") is None
    assert proxy_for("https", "store:9001") is not None


def test_a_proxy_of_another_kind_is_said(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{gateway}")
    for where in ("http://shop.invalid/c.jpg", "http://[::1"):
        with pytest.raises(ImageError, match="socks5:// is no proxy for http://" if "shop" in where else "no URL"):
            sources.read_bytes(where, Limits(), lambda _: None)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.invalid")
    with pytest.raises(ImageError, match="socks5:// is no proxy for http://"):
        event_loop.submit(sources.read_async("gs://shop/a.jpg", Limits(), admit)).result()
