"""Beam's local runner on Unix sockets in a folder of the user's own.

The FnApiRunner opens four ports on all interfaces, without authentication. Whoever can reach one could take the place
of a worker, read its bundles, and send elements, which are pickles: that is, run programs. (Beam 2.77:
``worker_handlers.GrpcServer`` binds to ``[::]:0``, and has no setting for it.)
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from catalogue.cli.errors import UserError

_MOST_BYTES = 100  # of the path of a socket; Linux allows 107, macOS 103
_lock = threading.Lock()


def install() -> None:
    """From now on the local runner of this process uses Unix sockets."""
    worker_handlers.GrpcServer = _Servers  # type: ignore[assignment, misc]
    worker_handlers.GrpcWorkerHandler.port_from_worker = _address  # type: ignore[assignment, method-assign]


def _address(_: worker_handlers.GrpcWorkerHandler, path: Any) -> str:
    return f"unix:{path}"


class _Servers(worker_handlers.GrpcServer):
    """The servers of a run, in a folder of mode 0700. What Beam takes for the number of a port is a socket's path."""

    def __init__(self, *arguments: Any) -> None:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sockets-", ignore_cleanup_errors=True))
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with _opening_in(_short(folder, descriptor)):
                super().__init__(*arguments)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Ends the servers."""
        super().close()
        self._stack.close()


def _short(folder: str, descriptor: int) -> str:
    """A path of a folder that leaves room for the name of a socket."""
    if len(os.fsencode(folder)) < _MOST_BYTES - 10:
        return folder
    by_descriptor = f"/proc/{os.getpid()}/fd/{descriptor}"
    if os.path.isdir(by_descriptor):
        return by_descriptor
    raise UserError(f"TMPDIR is too long for the path of a socket in it: {folder}; set a shorter one")


@contextlib.contextmanager
def _opening_in(folder: str) -> Iterator[None]:
    """Has Beam open its servers on sockets in a folder."""
    with _lock:
        worker_handlers.grpc = _Grpc(folder)
        try:
            yield
        finally:
            worker_handlers.grpc = grpc


class _Grpc:
    """Stands for the module `grpc`."""

    def __init__(self, folder: str) -> None:
        self._folder, self._count = folder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    def server(self, *arguments: Any, **options: Any) -> _Server:
        self._count += 1
        return _Server(grpc.server(*arguments, **options), f"{self._folder}/{self._count}")


class _Server:
    """A server of gRPC whose port is a socket."""

    def __init__(self, server: grpc.Server, path: str) -> None:
        self._server, self._path = server, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_insecure_port(self, _: str) -> str:
        self._server.add_insecure_port(f"unix:{self._path}")
        return self._path
