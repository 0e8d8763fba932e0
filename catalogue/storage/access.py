"""Access control for reads: a manifest may come from an untrusted author, who must not reach the internal network."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
import threading
import urllib.parse

from requests.utils import requote_uri
from urllib3.util import parse_url

from catalogue.reasons import Reason, StorageError
from catalogue.storage.paths import WEB, is_remote, scheme

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Cloud metadata services outside the link-local range: AWS and Google over IPv6, Alibaba, Azure, Oracle.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
# IPv6 networks that embed an IPv4 address in the last 32 bits: IPv4-compatible, IPv4-mapped, and IPv4-translated
# (RFC 2765, 6052, 8215).
_WITH_IPV4 = tuple(
    map(ipaddress.ip_network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_current = threading.local()


@dataclasses.dataclass(frozen=True)
class Access:
    """Allowlist of readable locations.

    Attributes:
        prefixes: local folders, and URIs of buckets or hosts, with or without a path. Locations below any prefix may be
            read. If there are no prefixes, every location may be read.
    """

    prefixes: tuple[str, ...] = ()

    def check(self, location: str) -> None:
        """Raise StorageError if a location must not be read."""
        if self.prefixes and not self.names(location):
            raise StorageError(Reason.PERMISSION_DENIED, "the location is not below any --allow-uri prefix")

    def names(self, location: str) -> bool:
        """Return whether a location is one of the prefixes or below one, and has no ``..`` segment."""
        found = _normal(location)
        return not _climbs(found) and any(is_below(found, _normal(prefix)) for prefix in self.prefixes)


EVERYTHING = Access()


def is_below(location: str, folder: str) -> bool:
    """Return whether a location is the given folder or bucket, or below it."""
    return location == folder or location.startswith(f"{folder.rstrip('/')}/")


def _normal(location: str) -> str:
    """Normalize a location for comparison. A URL is quoted as in requests, without credentials, query and fragment."""
    if not is_remote(location):
        return os.path.normpath(location)
    kind = scheme(location)
    if kind not in WEB:
        return f"{kind}://{location.partition('://')[2]}"
    if "\\" in location:  # programs disagree on what a backslash means in a URL
        return ""
    try:
        url = parse_url(requote_uri(location))
    except ValueError:  # not a URL: the read reports the error
        return location
    port = "" if url.port in (None, _DEFAULT_PORTS[kind]) else f":{url.port}"
    return f"{kind}://{url.host or ''}{port}{url.path or '/'}"


def _climbs(location: str) -> bool:
    """Return whether a location has a ``..`` segment, even if it is percent-encoded or has parameters (``..;x``)."""
    before = ""
    while before != location:
        before, location = location, urllib.parse.unquote(location)
    return any(segment.partition(";")[0].strip() == ".." for segment in re.split(r"[/\\]", location))


class Route:
    """SSRF guard for one web read and its redirects: a public address must not redirect to a private one.

    Without a proxy, host names are resolved here, and the connection uses the resolved addresses. This rules out DNS
    rebinding, in which a second lookup returns another address.
    """

    def __init__(self) -> None:
        self._was_public = False
        self._outer: Route | None = None

    def __enter__(self) -> Route:
        self._outer, _current.route = current_route(), self
        return self

    def __exit__(self, *_: object) -> None:
        _current.route = self._outer

    def check_host(self, host: str) -> None:
        """Raise StorageError if a host is a forbidden IP address; ``localhost`` counts as 127.0.0.1.

        Other names are not checked here, since a proxy may resolve them.
        """
        if host.rstrip(".").lower() == "localhost":
            self._check(ipaddress.ip_address("127.0.0.1"))
            return
        try:
            address = address_of(host)
        except ValueError:  # a name
            return
        self._check(address)

    def permitted(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to.

        Raises:
            StorageError: every address of the host is forbidden.
            OSError: the host cannot be resolved.
        """
        found = dict.fromkeys(info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        error: StorageError | None = None
        permitted = []
        for address in map(str, found):
            try:
                self._check(address_of(address))
            except StorageError as refused:
                error = refused
            else:
                permitted.append(address)
        if error and not permitted:
            raise error
        return permitted

    def reached(self, address: str) -> None:
        """Record a connection. Raise StorageError if its address is forbidden.

        A connection that is reused from an earlier read may have an address that is forbidden for this read.
        """
        found = address_of(address)
        self._check(found)
        self._was_public |= is_public(found)

    def reached_by_proxy(self) -> None:
        """Record a connection through a proxy. The proxy hides the host's address, which therefore counts as public."""
        self._was_public = True

    def _check(self, address: Address) -> None:
        if address.is_link_local or address in _METADATA:
            raise StorageError(Reason.PERMISSION_DENIED, f"{address} is a blocked link-local or metadata address")
        if self._was_public and not is_public(address):
            raise StorageError(
                Reason.PERMISSION_DENIED, f"redirected from a public address to {address}, which is not public"
            )


def current_route() -> Route | None:
    """Return the route of this thread's current web read; None if there is no such read."""
    return getattr(_current, "route", None)


def address_of(text: str) -> Address:
    """Parse an IP address, including the IPv4 forms that only the operating system accepts, such as ``127.1``.

    An IPv4 address embedded in IPv6 is returned as IPv4. Raises ValueError if the text is not an address.
    """
    text = text.strip("[]").partition("%")[0]
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(text))
        except OSError:
            raise ValueError(text) from None
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _WITH_IPV4) and int(address) > 0xFFFF:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.sixtofour or address
    return address


def is_public(address: Address) -> bool:
    """Return whether an address is reachable on the public internet."""
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or is_site_local)
