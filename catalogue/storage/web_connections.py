"""HTTP connections of `catalogue.storage.web`.

A connection ends with the deadline of the read that uses it, and connects only to addresses that the read's `Route`
permits.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError

from catalogue.storage.access import current_route
from catalogue.storage.deadline import current

_HOSTS, _IDLE_CONNECTIONS = 64, 64


class Adapter(HTTPAdapter):
    """Requests adapter with a connection pool for each host or proxy, without retries."""

    def __init__(self) -> None:
        retries = urllib3.Retry(total=0, read=False, redirect=0, respect_retry_after_header=False)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=_IDLE_CONNECTIONS, max_retries=retries)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """See `HTTPAdapter`."""
        if proxy.lower().startswith("socks"):
            raise InvalidSchema("SOCKS proxies are not supported")
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Connection(HTTPConnection):
    """Connection subject to the deadline and the route of the current read.

    The deadline already covers the TLS handshake, since a server may stall it forever. The route is also checked when a
    connection of an earlier read is reused.
    """

    def _new_conn(self) -> socket.socket:
        route = current_route()
        if route is None or self.proxy is not None:
            return _watched(super()._new_conn())
        host = self._dns_host
        try:
            addresses = route.permitted(host, self.port)
        except OSError as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        try:
            for number, address in enumerate(addresses, start=1):
                deadline = current()
                if deadline is not None:
                    deadline.check()
                self._dns_host = address
                try:
                    return _watched(super()._new_conn())
                except HTTPError:
                    if number == len(addresses):
                        raise
        finally:
            self._dns_host = host
        raise AssertionError("a resolved host has at least one address")

    def connect(self) -> None:
        """See `HTTPConnection`."""
        super().connect()
        self._check_route()

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        """See `HTTPConnection`."""
        if self.sock is not None:  # reused from an earlier read
            _watched(self.sock)
            self._check_route()
        super().putrequest(*arguments, **options)

    def _check_route(self) -> None:
        route = current_route()
        if route is not None and self.proxy is None:
            route.reached(self.sock.getpeername()[0])
        elif route is not None:
            route.reached_by_proxy()


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS: dict[str, type[urllib3.HTTPConnectionPool]] = {"http": _Pool, "https": _TLSPool}


def _watched(sock: socket.socket) -> socket.socket:
    deadline = current()
    if deadline is not None:
        deadline.shut_down_in_time(socket.socket(fileno=os.dup(sock.fileno())))
    return sock
