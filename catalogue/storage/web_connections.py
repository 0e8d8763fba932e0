"""The connections of `catalogue.storage.web`, which end with the deadline of the read that uses them."""

from __future__ import annotations

import os
import socket
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from catalogue.storage.deadline import current

_HOSTS, _IDLE_CONNECTIONS = 64, 64


class Adapter(HTTPAdapter):
    """A pool of connections to each host or proxy. Nothing is tried again here."""

    def __init__(self) -> None:
        retries = urllib3.Retry(total=0, read=False, redirect=0, respect_retry_after_header=False)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=_IDLE_CONNECTIONS, max_retries=retries)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """See `HTTPAdapter`."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Connection(HTTPConnection):
    """Its socket is watched from the moment it is there: a TLS handshake may take for ever, too."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        _watch(sock)
        return sock

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        if self.sock is not None:  # of an earlier read
            _watch(self.sock)
        super().putrequest(*arguments, **options)


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS: dict[str, type[urllib3.HTTPConnectionPool]] = {"http": _Pool, "https": _TLSPool}


def _watch(sock: socket.socket) -> None:
    deadline = current()
    if deadline is not None:
        deadline.shut_down_in_time(socket.socket(fileno=os.dup(sock.fileno())))
