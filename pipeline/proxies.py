"""Proxies that the environment names: ``http_proxy``, ``https_proxy`` and ``no_proxy``, in capitals, too."""

from __future__ import annotations

import base64
import dataclasses
import functools
import urllib.parse
import urllib.request

from catalogue.images.reader import ImageError, Reason


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A proxy.

    Attributes:
        url: ``http://`` or ``https://``, its host and port.
        authorization: what it is told of who asks, if that is asked for.
    """

    url: str
    authorization: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Those that a proxy wants beside a request's own."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


@functools.lru_cache(10_000)
def proxy_for(scheme: str, host: str) -> Proxy | None:
    """The proxy for requests to a host, or a host and port; None if it is asked itself. The environment is read once.

    Raises:
        ImageError: it is of another kind.
    """
    found = urllib.request.getproxies().get(scheme)
    if not found or urllib.request.proxy_bypass(host):
        return None
    parts = urllib.parse.urlsplit(found if "://" in found else f"http://{found}")
    if parts.scheme not in ("http", "https"):
        raise ImageError(
            Reason.READ_FAILED,
            f"{parts.scheme}:// is no proxy for {scheme}://: set {scheme}_proxy to http://HOST:PORT",
        )
    _, _, address = parts.netloc.rpartition("@")
    url = f"{parts.scheme}://{address}"
    if parts.username is None:
        return Proxy(url)
    words = (urllib.parse.unquote(word or "") for word in (parts.username, parts.password))
    return Proxy(url, f"Basic {base64.b64encode(':'.join(words).encode()).decode()}")
