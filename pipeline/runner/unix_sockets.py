"""Unix sockets in a private folder for Beam's local runner, instead of open ports.

The FnApiRunner opens four ports on all interfaces without authentication. Anyone who can reach one could impersonate a
worker, read its bundles, and run code by sending elements, which are pickles. (Beam 2.77:
``worker_handlers.GrpcServer`` binds to ``[::]:0`` and has no setting for it.)
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

_MOST_BYTES = 100  # maximum length of a socket path; Linux allows 107, macOS 103
_lock = threading.Lock()


def install() -> None:
    """Patch Beam so that the local runner of this process uses Unix sockets from now on."""
    worker_handlers.GrpcServer = _Servers  # type: ignore[assignment, misc]
    worker_handlers.GrpcWorkerHandler.port_from_worker = _address  # type: ignore[assignment, method-assign]


def _address(_: worker_handlers.GrpcWorkerHandler, path: Any) -> str:
    return f"unix:{path}"


class _Servers(worker_handlers.GrpcServer):
    """The servers of a run, with sockets in a folder of mode 0700. Beam's port numbers are socket paths here."""

    def __init__(self, *arguments: Any) -> None:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sockets-", ignore_cleanup_errors=True))
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with _opening_in(_short(folder, descriptor)):
                super().__init__(*arguments)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Stop the servers and remove their sockets."""
        super().close()
        self._stack.close()


def _short(folder: str, descriptor: int) -> str:
    """Return a path of the folder that is short enough for a socket inside it. Raises UserError."""
    if len(os.fsencode(folder)) < _MOST_BYTES - 10:
        return folder
    by_descriptor = f"/proc/{os.getpid()}/fd/{descriptor}"
    if os.path.isdir(by_descriptor):
        return by_descriptor
    raise UserError(f"TMPDIR is too long for a socket path ({folder}): set TMPDIR to a shorter path")


@contextlib.contextmanager
def _opening_in(folder: str) -> Iterator[None]:
    """Within the context, make Beam open its servers on sockets in a folder."""
    with _lock:
        worker_handlers.grpc = _Grpc(folder)
        try:
            yield
        finally:
            worker_handlers.grpc = grpc


class _Grpc:
    """Replacement for the module `grpc` that opens servers on sockets."""

    def __init__(self, folder: str) -> None:
        self._folder, self._count = folder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    def server(self, *arguments: Any, **options: Any) -> _Server:
        self._count += 1
        return _Server(grpc.server(*arguments, **options), f"{self._folder}/{self._count}")


class _Server:
    """A gRPC server that listens on a Unix socket."""

    def __init__(self, server: grpc.Server, path: str) -> None:
        self._server, self._path = server, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_insecure_port(self, _: str) -> str:
        self._server.add_insecure_port(f"unix:{self._path}")
        return self._path
