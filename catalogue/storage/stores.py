"""Stores by URI scheme. A store is opened, and its client library imported, on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from catalogue.cli.errors import UserError
from catalogue.reasons import Reason, StorageError
from catalogue.storage.local import LocalStore
from catalogue.storage.paths import check, scheme
from catalogue.storage.values import Store

_lock = threading.Lock()
_opened: dict[str, Store | StorageError] = {}


def store_of(location: str) -> Store:
    """Return the store of a location. Each kind of storage has one store per process.

    A failure to find credentials is cached, since the search for credentials takes seconds.

    Raises:
        StorageError: the store cannot be opened.
        UserError: the store needs a package that is not installed.
    """
    kind = _KINDS.get(scheme(location), "other")
    with _lock:
        if kind not in _opened:
            try:
                _opened[kind] = _OPENERS[kind](location)
            except StorageError as error:
                if error.reason is not Reason.PERMISSION_DENIED:
                    raise
                _opened[kind] = error
        found = _opened[kind]
    if isinstance(found, StorageError):
        raise StorageError(found.reason, found.message)
    return found


def forget() -> None:
    """Close every store, so that its next use reopens it, for example with new environment variables."""
    with _lock:
        for store in _opened.values():
            if not isinstance(store, StorageError):
                store.close()
        _opened.clear()


def _local(location: str) -> Store:
    return LocalStore()


def _google(location: str) -> Store:
    from catalogue.storage.google import GoogleStore

    return GoogleStore()


def _amazon(location: str) -> Store:
    check(location)
    from catalogue.storage.amazon import AmazonStore

    return AmazonStore()


def _azure(location: str) -> Store:
    from catalogue.storage.azure import AzureStore

    return AzureStore()


def _web(location: str) -> Store:
    from catalogue.storage.web import WebStore

    return WebStore()


def _beam(location: str) -> Store:
    try:
        from catalogue.storage.beam import BeamStore
    except ImportError as error:
        raise UserError(f"{location} needs apache-beam: pip install apache-beam") from error
    return BeamStore()


_KINDS = {
    "": "local", "gs": "google", "s3": "amazon", "az": "azure", "abfs": "azure", "abfss": "azure", "http": "web",
    "https": "web",
}  # fmt: skip
_OPENERS: dict[str, Callable[[str], Store]] = {
    "local": _local, "google": _google, "amazon": _amazon, "azure": _azure, "web": _web, "other": _beam,
}  # fmt: skip
