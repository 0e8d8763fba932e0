"""Web servers on loopback, each with its own fault: a fault of real servers, or an attempt to delay the reader."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator

from catalogue.reasons import Reason

PICTURE = b"\xff\xd8picture" * 1000
MOST_BYTES = 1 << 20
_PAUSE = 0.05  # seconds between two bytes or lines of a server that never finishes
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_GZIP = _OK + b"Content-Encoding: gzip\r\n"

Answer = Callable[[socket.socket], None]


def sends(*parts: bytes) -> Answer:
    """Return an answer that sends the parts and closes the connection."""

    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def sends_and_waits(*parts: bytes) -> Answer:
    """Return an answer that sends the parts, and then nothing."""

    def answer(connection: socket.socket) -> None:
        sends(*parts)(connection)
        while connection.recv(1 << 16):
            pass

    return answer


def repeats(first: bytes, part: bytes, pause: float = _PAUSE) -> Answer:
    """Return an answer that sends `first`, and then `part` again and again."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(part)
            time.sleep(pause)

    return answer


def _resets(*parts: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        sends(*parts)(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def _slowly_redirects(connection: socket.socket) -> None:
    time.sleep(0.7)
    connection.sendall(_redirect(b"/again"))


def _redirect(target: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n"


def _busy(header: bytes = b"") -> bytes:
    return b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n" + header + b"\r\n"


def _bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(80)) + packer.flush()


def _of(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


LATER, NEVER = Reason.READ_FAILED, Reason.NOT_FOUND
FAULTS: dict[str, tuple[Answer, Reason | None]] = {
    "silence": (sends_and_waits(), LATER),
    "a connection that is closed": (sends(), LATER),
    "a connection that is reset": (_resets(), LATER),
    "half a status line": (sends_and_waits(b"HTTP/1.1 2"), LATER),
    "not HTTP": (sends(b"SSH-2.0-OpenSSH_9.6\r\n"), LATER),
    "a dripping status line": (repeats(b"HTTP/1.1 200 ", b"O"), LATER),
    "endless headers": (repeats(_OK, b"X: y\r\n"), LATER),
    "a dripping header": (repeats(_OK + b"X: ", b"y"), LATER),
    "a header of a megabyte": (sends(_OK + b"X: " + b"y" * (1 << 20) + b"\r\n\r\n"), LATER),
    "a thousand headers": (sends(_OK + b"X: y\r\n" * 1000 + b"\r\n"), LATER),
    "endless 100 Continue": (repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), LATER),
    "a body that does not begin": (sends_and_waits(_OK + b"Content-Length: 10\r\n\r\n"), LATER),
    "a dripping body": (repeats(_OK + b"Content-Length: 1000000\r\n\r\n", b"x"), LATER),
    "a dripping body without a length": (repeats(_OK + b"\r\n", b"x"), LATER),
    "a body that is cut": (sends(_OK + b"Content-Length: 10\r\n\r\n12345"), LATER),
    "a body that is reset": (_resets(_OK + b"Content-Length: 10\r\n\r\n12345"), LATER),
    "an endless body": (repeats(_OK + b"\r\n", b"x" * 65536, 0), Reason.TOO_MANY_BYTES),
    "dripping chunks": (repeats(_CHUNKED, b"1\r\nx\r\n"), LATER),
    "a dripping size of a chunk": (repeats(_CHUNKED, b"0"), LATER),
    "a chunk size that is not a number": (sends(_CHUNKED + b"picture\r\n"), LATER),
    "chunks that are cut": (sends(_CHUNKED + b"5\r\nxxxxx\r\n"), LATER),
    "endless trailers": (repeats(_CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n"), LATER),
    "two lengths": (sends(_OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"), LATER),
    "a bomb": (sends(_GZIP + _of(_bomb())), Reason.TOO_MANY_BYTES),
    "endless empty members": (repeats(_GZIP + b"\r\n", gzip.compress(b"")), LATER),
    "gzip that is cut": (sends(_GZIP + _of(gzip.compress(PICTURE)[:-20])), LATER),
    "a body that is not gzip": (sends(_GZIP + _of(PICTURE)), None),
    "another encoding": (sends(_OK + b"Content-Encoding: br\r\n" + _of(PICTURE)), LATER),
    "a redirect to itself": (sends(_redirect(b"/again")), NEVER),
    "slow redirects": (_slowly_redirects, LATER),
    "a redirect to nowhere": (sends(_redirect(b"http://127.0.0.1:1/")), LATER),
    "a redirect to a file": (sends(_redirect(b"file:///etc/passwd")), NEVER),
    "busy": (sends(_busy()), LATER),
    "busy for an hour": (sends(_busy(b"Retry-After: 3600\r\n")), LATER),
    "busy until the next century": (sends(_busy(b"Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n")), LATER),
    "nothing": (sends(_OK + _of(b"")), None),
    "204 for an image": (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), LATER),
    "202 for an image": (sends(b"HTTP/1.1 202 Accepted\r\n" + _of(b"")), LATER),
    "206 without a range": (sends(b"HTTP/1.1 206 Partial Content\r\n" + _of(PICTURE)), LATER),
}
"""Response of each server to a request, and the reason with which a read fails; None if the read returns bytes."""


class FaultyServer:
    """A server with one fault."""

    def __init__(self, answer: Answer) -> None:
        self._answer, self._socket = answer, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop accepting requests."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            _read_request(connection)
            self._answer(connection)


def _read_request(connection: socket.socket) -> None:
    request = connection.recv(1 << 16)
    while request.startswith(b"GET") and not request.endswith(b"\r\n\r\n"):
        request += connection.recv(1 << 16)


@contextlib.contextmanager
def running_faulty_servers() -> Iterator[dict[str, str]]:
    """Run a server for each fault; yield their URLs by name of the fault."""
    servers = {name: FaultyServer(answer) for name, (answer, _) in FAULTS.items()}
    yield {name: server.url for name, server in servers.items()}
    for server in servers.values():
        server.close()
