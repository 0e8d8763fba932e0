"""Store for Azure, through obstore: ``az://CONTAINER/BLOB``, ``abfs[s]://CONTAINER@ACCOUNT.dfs.core.windows.net/BLOB``.

Account and credentials come from the environment variables that Azure's tools and obstore read:
``AZURE_STORAGE_CONNECTION_STRING``; ``AZURE_STORAGE_ACCOUNT_NAME`` with ``AZURE_STORAGE_ACCOUNT_KEY`` or
``AZURE_STORAGE_SAS_TOKEN``; ``AZURE_CLIENT_ID`` with ``AZURE_CLIENT_SECRET`` and ``AZURE_TENANT_ID``; workload and
managed identities; the Azure CLI (``AZURE_USE_AZURE_CLI=true``).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore as ObstoreAzure

from catalogue.reasons import Reason, StorageError
from catalogue.storage import object_reads
from catalogue.storage.access import Access
from catalogue.storage.object_reads import ObjectReads, folder_of, is_plain, named
from catalogue.storage.parallel import for_each
from catalogue.storage.paths import scheme, split
from catalogue.storage.values import Admit, Content, Listed

_PAGE = 1000
_DOMAIN = "core.windows.net"
# Source: https://learn.microsoft.com/azure/storage/common/storage-account-overview; includes the national clouds
_DOMAINS = (_DOMAIN, "core.chinacloudapi.cn", "core.usgovcloudapi.net", "storage.azure.net", "fabric.microsoft.com")
# Well-known account of the emulators. Source: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_EMULATED = {
    "account_name": "devstoreaccount1",
    "account_key": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
}


class AzureStore:
    """Store for Azure; the version of a blob is its ETag. See `catalogue.storage.values.Store`."""

    def __init__(self) -> None:
        self._lock, self._containers = threading.Lock(), dict[str, Any]()

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """See `Store`."""
        condition = None if unless is None else f'"{unless}"'
        return self._reads(location).read(_key(location), max_bytes, admit, condition)

    def open(self, location: str) -> BinaryIO:
        """See `Store`."""
        return self._reads(location).open(_key(location), location)

    def stat(self, location: str) -> Listed | None:
        """See `Store`."""
        if not is_plain(split(location)[1]):  # a folder with a trailing slash
            return None
        return self._reads(location).stat(_key(location), location)

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """See `Store`.

        Raises:
            StorageError: the listing failed, or a blob has an empty path segment, which obstore cannot list.
        """
        root, prefix = _root(folder), folder_of(folder)[1].strip("/")
        with self._reads(folder).translated_errors():
            for page in obstore.list(self._container(folder), prefix or None, chunk_size=_PAGE):
                for meta in page:
                    yield Listed(f"{root}/{meta['path']}", meta["size"], _version(meta))

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        with self._reads(folder).translated_errors():
            found = obstore.list_with_delimiter(self._container(folder), split(folder)[1].strip("/") or None)
        if not found["common_prefixes"] and not found["objects"]:
            return None
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"])

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """See `Store`. Large files use a multipart upload, unless `only_if_absent`."""
        with self._reads(location).translated_errors():
            try:
                obstore.put(
                    self._container(location),
                    _key(location),
                    file,
                    mode="create" if only_if_absent else "overwrite",
                    use_multipart=False if only_if_absent else None,
                )
            except AlreadyExistsError:
                return False
        return True

    def copy(self, source: str, target: str) -> None:
        """See `Store`."""
        if _root(source) != _root(target):
            file = self.open(source)
            with file:
                self.upload(target, file, only_if_absent=False)
            return
        with self._reads(source).translated_errors():
            obstore.copy(self._container(source), _key(source), _key(target))

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        for root, group in itertools.groupby(locations, key=_root):
            names = list(group)
            try:
                with self._reads(names[0]).translated_errors():
                    obstore.delete(self._container(root), list(map(_key, names)))
            except StorageError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
                for_each(self._delete, names)  # one blob is already gone; the others may or may not have been deleted

    def close(self) -> None:
        """See `Store`."""
        self._containers.clear()

    def _delete(self, location: str) -> None:
        with self._reads(location).translated_errors(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._container(location), _key(location))

    def _reads(self, location: str) -> ObjectReads:
        return ObjectReads(self._container(location), _version)

    def _container(self, location: str) -> Any:
        root = _root(location)
        with self._lock:
            if root not in self._containers:
                self._containers[root] = _opened(root)
            return self._containers[root]


def _opened(root: str) -> ObstoreAzure:
    settings = settings_of(root, os.environ)
    endpoint = settings.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT") or os.environ.get("AZURE_ENDPOINT")
    try:
        return ObstoreAzure(
            split(root)[0].partition("@")[0],
            config=settings,  # type: ignore[arg-type]
            client_options=object_reads.client_options(endpoint),
            retry_config=object_reads.RETRY,
        )
    except (BaseError, ValueError) as error:  # such as missing settings
        message = str(error).split("\n", 1)[0]
        advice = "check the AZURE_STORAGE_ variables, such as AZURE_STORAGE_ACCOUNT_NAME"
        raise StorageError(Reason.PERMISSION_DENIED, f"{root}: {message}; {advice}") from error


def settings_of(root: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the container settings that obstore does not read from the environment.

    Args:
        root: ``SCHEME://CONTAINER`` or ``SCHEME://CONTAINER@ACCOUNT.dfs.DOMAIN``.
        environment: environment variables. ``AZURE_STORAGE_CONNECTION_STRING`` applies unless it names another account.

    Returns:
        Settings under obstore's names.

    Raises:
        StorageError: the domain belongs neither to Azure nor to the endpoint of the connection string. URIs may be
            untrusted, and the server receives the credentials.
    """
    from_string = _parsed(environment.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    account, _, domain = split(root)[0].partition("@")[2].partition(".")
    if not account or account == from_string.get("account_name"):
        return from_string
    settings = {"account_name": account}
    domain = domain.partition(".")[2]  # without dfs or blob
    if domain in ("", _DOMAIN):
        return settings
    own = urllib.parse.urlsplit(from_string.get("endpoint", "")).hostname or ""
    is_known = any(f".{domain}".endswith(f".{known}") for known in _DOMAINS)
    if not is_known and own.split(".", 2)[2:] != [domain]:  # the domain would receive the credentials
        raise StorageError(Reason.PERMISSION_DENIED, f"{root}: {domain} is not an Azure domain")
    return settings | {"endpoint": f"https://{account}.blob.{domain}"}


def _parsed(connection_string: str) -> dict[str, str]:
    """Parse a connection string into settings under obstore's names.

    Source: https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
    """
    pairs = (part.partition("=") for part in connection_string.split(";"))
    found = {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}
    if found.get("usedevelopmentstorage", "").lower() == "true":
        host = found.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
        return _EMULATED | {"endpoint": f"{host}:10000/{_EMULATED['account_name']}"}
    names = {"accountname": "account_name", "accountkey": "account_key", "sharedaccesssignature": "sas_key",
             "blobendpoint": "endpoint"}  # fmt: skip
    settings = {ours: found[theirs].rstrip("/") for theirs, ours in names.items() if theirs in found}
    if "account_name" not in settings and "endpoint" in settings:
        settings["account_name"] = urllib.parse.urlsplit(settings["endpoint"]).netloc.partition(".")[0]
    elif "endpoint" not in settings and "account_name" in settings:
        protocol, domain = found.get("defaultendpointsprotocol", "https"), found.get("endpointsuffix", _DOMAIN)
        settings["endpoint"] = f"{protocol}://{settings['account_name']}.blob.{domain}"
    return settings


def _version(meta: Any) -> str | None:
    """Return the ETag of a blob without quotes, as in listings."""
    return meta["e_tag"] and meta["e_tag"].strip('"')


def _root(location: str) -> str:
    """Return ``SCHEME://CONTAINER`` of a location."""
    return f"{scheme(location)}://{split(location)[0]}"


def _key(location: str) -> str:
    _, key = named(location)
    if not is_plain(key):
        words = "a blob name must not have an empty segment, a segment '.' or '..', or a control character"
        raise StorageError(Reason.NOT_FOUND, f"{location} cannot be addressed: {words}")
    return key
