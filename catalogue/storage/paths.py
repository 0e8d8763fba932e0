"""Parsing of locations (local paths and URIs) without access to remote storage."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import urllib.parse
import uuid

from catalogue.cli.errors import UserError

WEB = ("http", "https")
# Hidden files and folders, and metadata that operating systems and other programs leave beside user files.
HIDDEN = re.compile(
    r"(?<![^/])(\.[^/]*|@eaDir|@Recycle|#recycle|#snapshot|__MACOSX|\$RECYCLE\.BIN|System Volume Information"
    r"|lost\+found|(?:eh)?Thumbs\.db(?::encryptable)?|desktop\.ini)(?=/|$)",
    re.IGNORECASE,
)
_DRIVE = re.compile(r"file:/*([A-Za-z])[:|](?:[/\\]|$)", re.IGNORECASE)


def scheme(location: str) -> str:
    """Return the scheme of a URI in lower case; empty for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", location)
    return found[1].lower() if found else ""


def is_remote(location: str) -> bool:
    """Return whether a location begins with a scheme, such as ``gs://``."""
    return bool(scheme(location))


def split(location: str) -> tuple[str, str]:
    """Split ``SCHEME://BUCKET/KEY`` into bucket or container, and key."""
    bucket, _, key = location.partition("://")[2].partition("/")
    return bucket, key


def absolute(path: str) -> str:
    """Return a path that does not depend on the working directory, without a trailing slash.

    Raises:
        ValueError: the path is a ``file:`` URI that names no local path, see `without_file_scheme`.
    """
    path = without_file_scheme(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def without_file_scheme(uri: str) -> str:
    """Return the absolute path of a ``file:`` URI, percent-decoded; any other path or URI unchanged.

    ``file:/a``, ``file:///a`` and ``file://localhost/a`` are the path ``/a``. Source: RFC 8089.

    Raises:
        ValueError: the URI names another host, a Windows drive, a relative path, or a path that is not UTF-8. The
            message completes a sentence that begins with the URI.
    """
    if uri[:5].lower() != "file:":
        return uri
    if drive := _DRIVE.match(uri):
        raise ValueError(f"names the Windows drive {drive[1]}: give the path on this machine")
    host, path = "", uri[5:]
    if path.startswith("//"):
        authority, slash, path = path[2:].partition("/")
        host, path = authority.rpartition("@")[2], slash + path
    if host.lower() not in ("", "localhost"):
        raise ValueError(
            f"names the host {host!r}, but only local files can be read: mount the share and give the local path"
        )
    if not path.startswith("/"):
        raise ValueError("has no absolute path: write file:///PATH")
    try:
        decoded = urllib.parse.unquote_to_bytes(os.fsencode(path)).decode("utf-8")
    except UnicodeError as error:
        raise ValueError("names a path that is not UTF-8: rename the file") from error
    return f"/{decoded.lstrip('/')}"  # a path that begins with two slashes would be taken for //HOST/PATH


def temporary_name() -> str:
    """Return a random name for a temporary file that is renamed once it is complete."""
    return f".{uuid.uuid4().hex}.new"


def is_temporary(name: str) -> bool:
    """Return whether a name comes from `temporary_name`; a killed process leaves such files behind."""
    return bool(re.fullmatch(r"\.[0-9a-f]{32}\.new", name))


def check(path: str) -> None:
    """Reject, before any work is done, a path where manifests, models or runs cannot be stored.

    Raises:
        UserError: the path is on the web, or its scheme needs an extra that is not installed.
    """
    if scheme(path) in WEB:
        raise UserError(f"{path} is on the web, where only images can be read: download it, or list image URLs")
    if scheme(path) == "s3" and not importlib.util.find_spec("boto3"):
        raise UserError(f"{path}: s3:// needs the extra aws: pip install -e '.[aws]'")


def is_glob(where: str) -> bool:
    """Return whether a path has wildcards and is not the literal name of a local file or folder."""
    return glob.has_magic(where) and not os.path.exists(where)


def is_unicode(text: str) -> bool:
    """Return whether text can be encoded as UTF-8; file names may contain invalid bytes."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def is_visible(path: str) -> bool:
    """Return whether no component of a path is hidden."""
    return not HIDDEN.search(path)
