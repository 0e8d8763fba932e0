"""Parsing of locations, local paths and URIs, without access to remote storage."""

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
    """Return a path that does not depend on the working directory, without a trailing slash."""
    path = without_file_scheme(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def without_file_scheme(uri: str) -> str:
    """Return the percent-decoded path of a ``file://`` URI; any other URI unchanged."""
    if uri[:7].lower() != "file://":
        return uri
    path = uri[7:].removeprefix("localhost")
    return urllib.parse.unquote(path) if path.startswith("/") else uri  # a share on another host stays remote


def temporary_name() -> str:
    """Return a random name for a temporary file that is renamed once it is complete."""
    return f".{uuid.uuid4().hex}.new"


def is_temporary(name: str) -> bool:
    """Return whether a name comes from `temporary_name`; a killed process leaves such files behind."""
    return bool(re.fullmatch(r"\.[0-9a-f]{32}\.new", name))


def check(path: str) -> None:
    """Reject, before any work is done, a path whose scheme cannot hold manifests, models or runs.

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
