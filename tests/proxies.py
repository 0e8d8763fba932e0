"""Proxies on loopback: one that injects the faults of storage services, and one that records requests."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

HANG_SECONDS = 1.5
STATUSES = {"503": 503, "429": 429, "409": 409, "denied": 403}
# Response of each storage to an expired token.
EXPIRED = {
    "gs": (401, b"Unauthorized"),
    "s3": (400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"),
    "az": (403, b"<Error><Code>AuthenticationFailed</Code></Error>"),
}

Choose = Callable[[str, str], "str | None"]
"""Function from the method and path of a request to its fault, or None."""


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Proxy that forwards requests to `upstream`, except those for which `choose` returns a fault.

    ``503``, ``429`` and ``409`` respond with that status, ``denied`` with 403, and ``expired`` as the storage `scheme`
    does. ``reset`` closes the connection at once, ``hang`` after a while, ``cut`` in the middle of the response body,
    and ``lost`` after the upstream has handled the request, without a response. ``damaged`` changes the word
    ``picture`` in the bodies of the request and the response.
    """

    daemon_threads = True

    def __init__(self, upstream: str, scheme: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.scheme = urllib.parse.urlsplit(upstream).netloc, scheme
        self.choose: Choose = lambda method, path: None
        self.injected: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect, as the tests make them do."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _handle(self) -> None:
        body = self._body()
        fault = self.server.choose(self.command, urllib.parse.unquote(self.path))
        if fault:
            self.server.injected.append(fault)
        if fault in ("reset", "hang"):
            time.sleep(HANG_SECONDS if fault == "hang" else 0)
            self.close_connection = True
        elif fault in STATUSES:
            code = "ConditionalRequestConflict" if fault == "409" else "Injected"
            self._answer(STATUSES[fault], f"<Error><Code>{code}</Code></Error>".encode())
        elif fault == "expired":
            self._answer(*EXPIRED[self.server.scheme])
        else:
            self._forward(body.replace(b"picture", b"Picture") if fault == "damaged" else body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, body: bytes, fault: str | None) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        replaced = ("host", "transfer-encoding", "content-length")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in replaced}
        if body or self.command in ("PUT", "POST", "PATCH"):
            headers["Content-Length"] = str(len(body))
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        own = f"http://{self.server.upstream}"
        if "json" in (answer.getheader("Content-Type") or ""):  # may contain URLs of the upstream
            content = content.replace(own.encode(), self.server.url.encode())
        if fault == "damaged":
            content = content.replace(b"picture", b"Picture")
        if fault == "lost":
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                self.send_header(name, value.replace(own, self.server.url))
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = self.close_connection or fault == "cut"

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def running_faulty_proxy(upstream: str, scheme: str) -> Iterator[FaultyProxy]:
    """Run a `FaultyProxy` in a thread."""
    proxy = FaultyProxy(upstream, scheme)
    with _running(proxy):
        yield proxy


@contextlib.contextmanager
def _running(server: http.server.ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Gateway(http.server.ThreadingHTTPServer):
    """An HTTP proxy that answers every GET with `picture` and refuses tunnels.

    Attributes:
        asked: for each request, the URL of the GET or the host and port of the tunnel, and the proxy credentials.
    """

    daemon_threads = True

    def __init__(self, picture: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)
        self.picture = picture
        self.asked: list[tuple[str, str | None]] = []

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect, as the tests make them do."""


class _Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.picture)))
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(self.server.picture)

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def running_gateway(picture: bytes = b"") -> Iterator[Gateway]:
    """Run a `Gateway` in a thread."""
    gateway = Gateway(picture)
    with _running(gateway):
        yield gateway
