from __future__ import annotations

import http.server
import ipaddress
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import access, stores
from catalogue.storage.access import Access, address_of

PICTURE = b"picture"


@pytest.mark.parametrize(
    ("prefix", "below", "elsewhere"),
    [
        ("/data/photos", ["/data/photos/a.jpg", "/data/photos/x/../a.jpg"], ["/data/photos2/a.jpg", "/etc/passwd",
                                                                             "/data/photos/../a.jpg"]),
        ("/", ["/etc/passwd"], ["gs://shop/a.jpg"]),
        ("gs://shop", ["gs://shop/a.jpg"], ["gs://shop2/a.jpg", "s3://shop/a.jpg", "/shop/a.jpg"]),
        ("gs://shop/2026/", ["gs://shop/2026/a.jpg"], ["gs://shop/2026-private/a.jpg", "gs://shop/2026/../a.jpg"]),
        ("hdfs://host/a", ["hdfs://host/a/b.jpg"], ["hdfs://host/a/../b.jpg"]),
        (
            "https://shop.example",
            ["https://shop.example/a.jpg", "https://SHOP.example:443/a.jpg", "https://me:x@shop.example/a.jpg?b#c"],
            ["https://shop.example.evil.org/a.jpg", "http://shop.example/a.jpg", "https://shop.example:8443/a.jpg",
             "https://shop.example@evil.org/a.jpg", "https://evil.org/?https://shop.example/a.jpg", "https://[x/a.jpg"],
        ),
        (
            "https://shop.example:443/photos",
            ["https://shop.example/photos/a.jpg", "https://shop.example/%70hotos/a.jpg"],
            ["https://shop.example/photos/../a.jpg", "https://shop.example/photos/%2e%2E/a.jpg",
             "https://shop.example/photos-of-staff/a.jpg", "https://shop.example/",
             "https://shop.example/photos/x%2F..%2F..%2Fa.jpg", "https://shop.example/photos/%2e%2e%2fa.jpg",
             "https://shop.example/photos/..%5ca.jpg", "https://shop.example/photos/..;/a.jpg",
             "https://shop.example/photos/%252e%252e/a.jpg", "https://127.0.0.1\\@shop.example/photos/a.jpg"],
        ),
    ],
)  # fmt: skip
def test_what_is_below_a_prefix(prefix: str, below: list[str], elsewhere: list[str]) -> None:
    own = Access((prefix, "gs://another"))
    for location in below:
        assert own.names(location), location
        own.check(location)
    for location in elsewhere:
        assert not own.names(location), location
        with pytest.raises(StorageError, match="not below any --allow-uri prefix") as error:
            own.check(location)
        assert error.value.reason is Reason.PERMISSION_DENIED
        access.EVERYTHING.check(location)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ("2002:a00:1::", "10.0.0.1"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
        ("64:ff9b:1::a9fe:a9fe", "169.254.169.254"),
        ("::169.254.169.254", "169.254.169.254"),
        ("::ffff:0:a9fe:a9fe", "169.254.169.254"),
        ("fe80::1%lo", "fe80::1"),
        ("::1", "::1"),
    ],
)
def test_what_an_address_leads_to(text: str, address: str) -> None:
    assert address_of(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:21f:cb07::1", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("169.254.1.1", False), ("224.0.0.1", False), ("240.0.0.1", False), ("::1", False), ("::", False),
        ("fc00::1", False), ("fe80::1", False), ("fec0::1", False), ("ff0e::1", False), ("2001:db8::1", False),
        ("::ffff:10.0.0.1", False), ("2002:a00:1::", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert access.is_public(address_of(address)) is public


class Shop(http.server.BaseHTTPRequestHandler):
    """Server that redirects ``/to/URL`` to the URL and answers every other request with a picture."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        is_redirect = self.path.startswith("/to/")
        self.send_response(302 if is_redirect else 200)
        if is_redirect:
            self.send_header("Location", urllib.parse.unquote(self.path.removeprefix("/to/")))
        self.send_header("Content-Length", str(0 if is_redirect else len(PICTURE)))
        self.end_headers()
        self.wfile.write(b"" if is_redirect else PICTURE)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Host names with the addresses that successive lookups return; the last one repeats. Only 127.0.0.2 is public."""
    known = {"public.test": ["127.0.0.2"], "private.test": ["127.0.0.1"], "metadata.test": ["169.254.169.254"]}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        found = known.get(host, [host])
        return resolve(found.pop(0) if len(found) > 1 else found[0], *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(access, "is_public", lambda address: str(address) == "127.0.0.2")
    return known


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Shop)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stores.forget()
    yield server.server_port
    stores.forget()
    server.shutdown()
    server.server_close()


def read(url: str, own: Access = access.EVERYTHING) -> bytes:
    content = storage.read(url, 1000, access=own)
    assert content is not None
    return content.data


def refusal(url: str, own: Access = access.EVERYTHING) -> str:
    with pytest.raises(StorageError) as error:
        read(url, own)
    assert error.value.reason is Reason.PERMISSION_DENIED, error.value
    return error.value.message


def test_a_redirect_never_leads_from_a_public_address_to_a_private_one(port: int, names: dict[str, list[str]]) -> None:
    public, private = f"http://public.test:{port}", f"http://private.test:{port}"
    assert read(f"{public}/a.jpg") == read(f"{private}/a.jpg") == read(f"http://127.0.0.1:{port}/a.jpg") == PICTURE
    assert read(f"{private}/to/{private}/a.jpg") == PICTURE
    assert read(f"{private}/to/{public}/a.jpg") == PICTURE
    assert read(f"{public}/to/{public}/a.jpg") == PICTURE
    for target in (private, f"http://127.0.0.1:{port}", f"http://localhost:{port}", f"http://127.1:{port}",
                   f"http://[::ffff:127.0.0.1]:{port}", f"http://0.0.0.0:{port}"):  # fmt: skip
        # The first two targets already have an open connection, which must not be reused.
        assert "redirected from a public address to" in refusal(f"{public}/to/{target}/a.jpg"), target
        assert "redirected from a public address to" in refusal(f"{private}/to/{public}/to/{target}/a.jpg"), target


def test_link_local_addresses_are_never_asked(port: int, names: dict[str, list[str]]) -> None:
    private = f"http://private.test:{port}"
    for host in ("169.254.169.254", "metadata.test", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166",
                 "168.63.129.16", "[fd00:ec2::254]"):  # fmt: skip
        for url in (f"http://{host}/latest/meta-data", f"{private}/to/http://{host}/latest"):
            assert "is a blocked link-local or metadata address" in refusal(url), url
    names["both.test"] = ["127.0.0.2"]
    assert read(f"http://both.test:{port}/a.jpg") == PICTURE


def test_a_name_cannot_mean_something_else_when_it_is_resolved_again(port: int, names: dict[str, list[str]]) -> None:
    names["rebinding.test"] = ["127.0.0.2", "127.0.0.1"]
    assert read(f"http://rebinding.test:{port}/a.jpg") == PICTURE
    assert names["rebinding.test"] == ["127.0.0.1"], "resolved once"
    stores.forget()
    names["rebinding.test"] = ["127.0.0.2", "127.0.0.1"]
    url = f"http://rebinding.test:{port}/to/http://rebinding.test:{port}/a.jpg"
    assert "127.0.0.1, which is not public" in refusal(url)


def test_redirects_stay_below_the_prefixes(port: int, names: dict[str, list[str]]) -> None:
    public = f"http://public.test:{port}"
    own = Access((f"{public}/to", f"{public}/photos"))
    assert read(f"{public}/to/{public}/photos/a.jpg", own) == PICTURE
    assert "redirected to" in refusal(f"{public}/to/{public}/private/a.jpg", own)
    assert "not below any --allow-uri prefix" in refusal(f"{public}/private/a.jpg", own)
