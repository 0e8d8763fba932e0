"""Which images may be read: a list may come from somebody who must not choose what is read in one's network."""

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

# What clouds have at other than link-local addresses: AWS and Google with IPv6, Alibaba, Azure, Oracle.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
# Networks of IPv6 whose last 32 bits are an address of IPv4: compatible, mapped, translated (RFC 2765, 6052 and 8215).
_WITH_IPV4 = tuple(
    map(ipaddress.ip_network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_current = threading.local()


@dataclasses.dataclass(frozen=True)
class Access:
    """The locations that may be read.

    Attributes:
        prefixes: folders, buckets or hosts, with or without a path; what is below one of them may be read. If there are
            none, everything may.
    """

    prefixes: tuple[str, ...] = ()

    def check(self, location: str) -> None:
        """Raises StorageError for what must not be read."""
        if self.prefixes and not self.names(location):
            raise StorageError(Reason.PERMISSION_DENIED, "it is outside everything that --allow-uri names")

    def names(self, location: str) -> bool:
        """Whether a location is below one of the prefixes."""
        found = _normal(location)
        return not _climbs(found) and any(is_below(found, _normal(prefix)) for prefix in self.prefixes)


EVERYTHING = Access()


def is_below(location: str, folder: str) -> bool:
    """Whether a location is a folder or bucket, or below it."""
    return location == folder or location.startswith(f"{folder.rstrip('/')}/")


def _normal(location: str) -> str:
    """A location in the one form that is compared; a URL as it is requested, without a user, query and fragment."""
    if not is_remote(location):
        return os.path.normpath(location)
    kind = scheme(location)
    if kind not in WEB:
        return f"{kind}://{location.partition('://')[2]}"
    if "\\" in location:  # programs do not agree on what it means there
        return ""
    try:
        url = parse_url(requote_uri(location))
    except ValueError:  # not a URL: whoever reads it says so
        return location
    port = "" if url.port in (None, _DEFAULT_PORTS[kind]) else f":{url.port}"
    return f"{kind}://{url.host or ''}{port}{url.path or '/'}"


def _climbs(location: str) -> bool:
    """Whether a location has a segment ``..``, also one that only a server finds: encoded, or with parameters."""
    before = ""
    while before != location:
        before, location = location, urllib.parse.unquote(location)
    return any(segment.partition(";")[0].strip() == ".." for segment in re.split(r"[/\\]", location))


class Route:
    """The way of one read of the web through its redirects: from a public address it must not lead to a private one.

    Names are resolved here, and what they are resolved to is what is connected to: a name cannot mean something else
    when it is resolved again.
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
        """Raises StorageError for an address in a URL that must not be asked; a proxy may be what resolves names."""
        if host.rstrip(".").lower() == "localhost":
            self._check(ipaddress.ip_address("127.0.0.1"))
            return
        try:
            address = address_of(host)
        except ValueError:  # a name
            return
        self._check(address)

    def permitted(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to.

        Raises:
            StorageError: there are none.
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
        """Takes account of a connection. Raises StorageError if it must not be used, as one of an earlier read."""
        found = address_of(address)
        self._check(found)
        self._was_public |= is_public(found)

    def reached_by_proxy(self) -> None:
        """Takes account of an answer from a host whose address only a proxy knows."""
        self._was_public = True

    def _check(self, address: Address) -> None:
        if address.is_link_local or address in _METADATA:
            raise StorageError(Reason.PERMISSION_DENIED, f"{address} is a link-local address, which is never asked")
        if self._was_public and not is_public(address):
            raise StorageError(
                Reason.PERMISSION_DENIED, f"redirected from a public address to {address}, which is not public"
            )


def current_route() -> Route | None:
    """The route of the read that this thread is at."""
    return getattr(_current, "route", None)


def address_of(text: str) -> Address:
    """An address from its text, also in the forms of IPv4 that only the system knows, such as ``127.1``.

    One of IPv4 within IPv6 is taken for what it leads to. Raises ValueError.
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
    """Whether an address is reached through the internet."""
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or is_site_local)
